//! What can be typed.

use crate::commands::{
    alerts, breaker, check, context, explain, purge, restore, rollout, settings, snapshot, tail, top, what_if,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const AFTER: &str = "\
Exit codes:
  0  done, and the answer is yes
  1  done, and the answer is no: not sound, not complete, or different
  2  the command line, a file or the configuration is wrong
  3  no answer from the control plane, or it cannot answer now
  4  the credentials are missing, unknown or not enough
  5  refused by the control plane; nothing has changed
  6  somebody else was first, or something else is under way
`optimizer check` ends like a monitoring plugin: 0 sound, 1 with warnings, 2 with failures.

Which control plane: --server, else --context, else API_OPTIMIZER_URL, else API_OPTIMIZER_CONTEXT or the current context,
else http://127.0.0.1:8080. The other options of the connection are taken from API_OPTIMIZER_TOKEN_FILE, API_OPTIMIZER_CA_FILE,
API_OPTIMIZER_CLIENT_CERT_FILE and API_OPTIMIZER_CLIENT_KEY_FILE, unless --context is given. A token is read from a file or from
API_OPTIMIZER_TOKEN, never from an argument. API_OPTIMIZER_CONFIG names another configuration file.
Colours are for terminals, and never where NO_COLOR is set.";

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

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// The control plane's REST API, for example https://optimizer.example:8080
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub server: Option<String>,
    /// A context of the configuration file, in place of the current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub context: Option<String>,
    /// File with the token
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust besides those of the machine (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate with its chain (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub client_cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection")]
    pub client_key_file: Option<PathBuf>,
    /// How long one request may take [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, help_heading = "Connection")]
    pub request_timeout: Option<Duration>,
    /// The configuration file [default: $XDG_CONFIG_HOME/api-optimizer/config.yaml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "API_OPTIMIZER_CONFIG",
        help_heading = "Connection"
    )]
    pub config: Option<PathBuf>,
    /// In which form answers are printed: as the control plane gives them, or as tables for people
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Output"
    )]
    pub output: Format,
}

/// In which form answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences for people.
    #[default]
    Table,
    /// The control plane's document.
    Json,
    /// The same as YAML.
    Yaml,
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
    /// The hit ratio with another size or eviction policy, predicted from the lookups so far
    WhatIf(what_if::Arguments),
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

/// A time such as `30s`, `10m` or `1h30m`; more than zero, and at most a week.
///
/// # Errors
/// It is none of these.
pub fn duration(text: &str) -> Result<Duration, String> {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; a time is written 30s, 10m or 1h"))?;
    if time.is_zero() || time > WEEK {
        return Err("allowed is more than 0s and at most 7days".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_bounded() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["0s", "8days", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
