//! The commands, one file each: what each asks, and what the answer means.

pub mod alerts;
pub mod breaker;
pub mod check;
pub mod context;
pub mod explain;
pub mod manual;
pub mod purge;
pub mod restore;
pub mod rollout;
pub mod settings;
pub mod snapshot;
pub mod tail;
pub mod top;
pub mod what_if;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// What a command has at hand: the control plane that is meant, and where answers go.
#[derive(Debug)]
pub struct Session {
    /// Which control plane.
    pub connection: Connection,
    /// Asks it.
    pub client: Client,
    /// Where answers go.
    pub output: Output,
}

/// Does what was typed.
///
/// # Errors
/// It could not be done.
pub fn run(cli: Cli) -> Result<Outcome, Failure> {
    let output = Output::new(cli.global.output);
    match cli.command {
        Command::Completions { shell } => return manual::completions(shell, output),
        Command::Man { dir } => return manual::man(dir.as_deref(), output),
        Command::Context(command) => return context::run(&command, &cli.global, output),
        Command::Tail(arguments) => return tail::run(&arguments, output),
        Command::Migrate(arguments) => {
            return Ok(match optimizer_migrate::command::run(&arguments) {
                0 => Outcome::Yes,
                code => Outcome::No(code),
            });
        }
        _ => {}
    }
    let connection = Connection::from(&cli.global)?;
    let session = Session {
        client: Client::new(&connection)?,
        connection,
        output,
    };
    match cli.command {
        Command::Check(arguments) => check::run(&session, &arguments),
        Command::Top(arguments) => top::run(&session, &arguments),
        Command::Explain(arguments) => explain::run(&session, &arguments),
        Command::Purge(arguments) => purge::run(&session, &arguments),
        Command::Settings(command) => settings::run(&session, &command),
        Command::Breaker(command) => breaker::run(&session, &command),
        Command::Alerts(command) => alerts::run(&session, &command),
        Command::Snapshot(arguments) => snapshot::run(&session, &arguments),
        Command::Restore(arguments) => restore::run(&session, &arguments),
        Command::WhatIf(arguments) => what_if::run(&session, &arguments),
        Command::Rollout(command) => rollout::run(&session, &command),
        // Done above.
        Command::Completions { .. }
        | Command::Man { .. }
        | Command::Context(_)
        | Command::Tail(_)
        | Command::Migrate(_) => Ok(Outcome::Yes),
    }
}

/// One segment of a path, percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(segment("orders/checkout?x"), "orders%2Fcheckout%3Fx");
        assert_eq!(segment("payment-api_1.v2~"), "payment-api_1.v2~");
    }
}
