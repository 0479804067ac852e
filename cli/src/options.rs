//! Options of every command, and how times and forms of output are typed.

use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

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

    #[test]
    fn times_are_bounded() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["0s", "8days", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
