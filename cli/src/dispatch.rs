//! From what was typed to the command that does it.

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::commands::{
    Session, alerts, breaker, check, context, experiment, explain, optimize, purge, restore, rollout, settings,
    snapshot, tail, top, warm, what_if,
};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::manual;
use crate::output::Output;

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
        Command::Experiment(command) => experiment::run(&session, &command),
        Command::Breaker(command) => breaker::run(&session, &command),
        Command::Alerts(command) => alerts::run(&session, &command),
        Command::Snapshot(arguments) => snapshot::run(&session, &arguments),
        Command::Restore(arguments) => restore::run(&session, &arguments),
        Command::Warm(arguments) => warm::run(&session, &arguments),
        Command::Optimize(arguments) => optimize::run(&session, &arguments),
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
