//! `optimizer-migrate`: [`optimizer_migrate::command`] as a program of its own.

use clap::Parser;
use optimizer_migrate::command::{self, Arguments};
use std::process::ExitCode;

/// Writes the settings that say what an nginx configuration says, and a report of what no setting says.
#[derive(Debug, Parser)]
#[command(version)]
struct Typed {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    ExitCode::from(command::run(&Typed::parse().arguments))
}
