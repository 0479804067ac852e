//! The operator's command line, as a library: every command speaks to the control plane's REST API and to nothing else.
//!
//! [`args`] and [`options`] say what can be typed, [`connection`] which control plane is meant, [`client`] asks it, [`commands`] say what the answers
//! mean, [`output`] shows them, and [`failure`] is what went wrong with its exit code.

pub mod args;
pub mod client;
pub mod commands;
pub mod connection;
pub mod contexts;
mod dispatch;
pub mod failure;
mod manual;
pub mod options;
pub mod output;

use args::Cli;
use clap::Parser;
use failure::{Failure, Outcome};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs one command line, `arguments` with the program's name first. Errors are printed to standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors too, to clap. If the output is closed, there is nothing to do.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    match dispatch::run(cli) {
        Ok(Outcome::Yes) | Err(Failure::NobodyReads) => ExitCode::SUCCESS,
        Ok(Outcome::No(code)) => ExitCode::from(code),
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(failure.code())
        }
    }
}
