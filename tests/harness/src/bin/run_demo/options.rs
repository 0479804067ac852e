//! What the environment asks for.

use harness::ports::is_free;
use harness::{Failure, Result, artefacts};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Checked options.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) listen_port: u16,
    pub(crate) admin_port: u16,
    pub(crate) rest_port: u16,
    pub(crate) grpc_port: u16,
    /// An upstream in place of the demo API.
    pub(crate) origin: Option<(String, u16)>,
    pub(crate) workers: u32,
    pub(crate) config_dir: Option<PathBuf>,
    pub(crate) state_dir: PathBuf,
}

impl Options {
    /// Reads and checks the environment.
    pub(crate) fn read() -> Result<Self> {
        let rest_port = port("REST_PORT", 8080)?;
        let options = Self {
            listen_port: port("LISTEN_PORT", 10_000)?,
            admin_port: port("ADMIN_PORT", 9901)?,
            rest_port,
            grpc_port: port("GRPC_PORT", 18_000)?,
            origin: variable("ORIGIN").map(|text| origin(&text)).transpose()?,
            workers: workers()?,
            config_dir: config_dir()?,
            state_dir: match variable("STATE_DIR") {
                Some(path) => PathBuf::from(path),
                None => artefacts::workspace().join(".state").join(rest_port.to_string()),
            },
        };
        options.check_ports()?;
        Ok(options)
    }

    fn check_ports(&self) -> Result<()> {
        let mut seen = BTreeMap::new();
        for (name, port) in [
            ("LISTEN_PORT", self.listen_port),
            ("ADMIN_PORT", self.admin_port),
            ("REST_PORT", self.rest_port),
            ("GRPC_PORT", self.grpc_port),
        ] {
            if let Some(other) = seen.insert(port, name) {
                return Err(Failure::new(format!(
                    "{other} and {name} are both {port}: they need different ports."
                )));
            }
            if !is_free(port) {
                let sentence =
                    format!("Port {port} is in use: stop what listens there, or set {name} to another port.");
                return Err(Failure::new(sentence));
            }
        }
        Ok(())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn port(name: &str, default: u16) -> Result<u16> {
    match variable(name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(Failure::new(format!(
                "{name}={text} is no port: give a number from 1 to 65535."
            ))),
        },
    }
}

fn origin(text: &str) -> Result<(String, u16)> {
    let parsed = text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parsed {
        Some((host, port)) if port > 0 && !host.is_empty() && !host.contains('/') => {
            Ok((host.trim_matches(['[', ']']).to_owned(), port))
        }
        _ => Err(Failure::new(format!(
            "ORIGIN={text} is no host:port, for example ORIGIN=127.0.0.1:8000."
        ))),
    }
}

fn workers() -> Result<u32> {
    let text = variable("CONCURRENCY").unwrap_or_else(|| "2".to_owned());
    match text.parse() {
        Ok(workers @ 1..=64) => Ok(workers),
        _ => Err(Failure::new(format!(
            "CONCURRENCY={text} is no number of workers: give 1 to 64."
        ))),
    }
}

fn config_dir() -> Result<Option<PathBuf>> {
    match variable("CONFIG_DIR").map(PathBuf::from) {
        Some(path) if !path.is_dir() => Err(Failure::new(format!("CONFIG_DIR={} is no directory.", path.display()))),
        path => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        assert_eq!(origin("api.example:80").unwrap(), ("api.example".to_owned(), 80));
        assert_eq!(origin("[::1]:8000").unwrap(), ("::1".to_owned(), 8000));
        for bad in ["api.example", ":80", "a:0", "a:99999", "http://a:80", "a:80/x"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
