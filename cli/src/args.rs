//! What can be typed.

use crate::commands::{
    alerts, breaker, check, context, experiment, explain, optimize, purge, restore, rollout, settings, snapshot, tail,
    top, warm, what_if,
};
use crate::options::Global;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

const AFTER: &str = "\
Exit codes:
  0  done, and the answer is yes
  1  done, and the answer is no: not sound, not complete, or different
  2  the command line, a file or the configuration is wrong
  3  no answer from the control plane, or it cannot answer now
  4  the credentials are missing, unknown or not enough
  5  refused by the control plane; nothing has changed
  6  somebody else was first, or something else is under way
  130  cancelled with Ctrl-C; what was done until then is said
`optimizer check` ends like a monitoring plugin: 0 sound, 1 with warnings, 2 with failures.

Which control plane: --server, else --context, else API_OPTIMIZER_URL, else API_OPTIMIZER_CONTEXT or the current context,
else http://127.0.0.1:8080. The other options of the connection are taken from API_OPTIMIZER_TOKEN_FILE, API_OPTIMIZER_CA_FILE,
API_OPTIMIZER_CLIENT_CERT_FILE and API_OPTIMIZER_CLIENT_KEY_FILE, unless --context is given. A token is read from a file or from
API_OPTIMIZER_TOKEN, never from an argument. API_OPTIMIZER_CONFIG names another configuration file.
`optimizer settings edit` opens the editor that VISUAL names, else EDITOR, else vi.
Colours are for terminals, and never where NO_COLOR is set or TERM is dumb.";

/// The operator's command line of the API Latency Optimizer. It speaks to the control plane's REST API, and to nothing else.
#[derive(Debug, Parser)]
#[command(name = "optimizer", version, after_help = AFTER, max_term_width = 120, arg_required_else_help = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Is the installation sound? One line for each thing looked at, with what to do
    Check(check::Arguments),
    /// A live board: fleet, hit ratio, latency, errors, breakers, alerts, top keys; `q` ends it
    Top(top::Arguments),
    /// What each Envoy would do with a request now, and why
    Explain(explain::Arguments),
    /// Remove stored responses from every Envoy and the shared tier
    Purge(purge::Arguments),
    /// Read and change the settings
    #[command(subcommand)]
    Settings(settings::Command),
    /// The circuit breakers, and operators' overrides of them
    #[command(subcommand)]
    Breaker(breaker::Command),
    /// Alerts and silences
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Save the stored responses of all Envoys to a file
    Snapshot(snapshot::Arguments),
    /// Give a snapshot back to the Envoys
    Restore(restore::Arguments),
    /// Give an Envoy the hottest responses of the others
    Warm(warm::Arguments),
    /// Remove what is expired or purged from every Envoy now, and see what is recommended
    Optimize(optimize::Arguments),
    /// The hit ratio with another size or eviction policy, predicted from the lookups so far
    WhatIf(what_if::Arguments),
    /// Changes of settings tried on part of the fleet, promoted or rolled back by themselves
    #[command(subcommand)]
    Experiment(experiment::Command),
    /// Modules of the filter, given to the fleet in steps
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Requests with the cache's decision, from Envoy's access log
    Tail(tail::Arguments),
    /// Write settings from an nginx configuration or Ingress documents, with a report of what differs
    Migrate(optimizer_migrate::command::Arguments),
    /// Several control planes, each under a name
    #[command(subcommand)]
    Context(context::Command),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write the pages of all commands into this folder instead
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
