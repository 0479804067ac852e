//! A real Redis: a server alone, a cluster, or a master with a replica and Sentinels.

mod cluster;
mod sentinel;

pub use cluster::Cluster;
pub use sentinel::Guarded;

use crate::certificates::Certificates;
use crate::ports::free_port;
use crate::process::Process;
use crate::{Failure, Result, wait};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Redis server without persistence, that can be killed and started again.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: PathBuf,
    /// More of the server's configuration.
    configuration: Vec<String>,
    /// How `redis-cli` gets in.
    entrance: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Starts it on a free port, its files in `folder`, and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// As [`Redis::start`], with more of its configuration, as options of the command line.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start_with(folder: &Path, configuration: &[&str]) -> Result<Self> {
        Self::begin(folder, free_port()?, configuration, &[])
    }

    /// As [`Redis::start_with`], one that speaks TLS alone, and only with clients that show a certificate.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start_encrypted(folder: &Path, certificates: &Certificates, configuration: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let file = |name: &str| certificates.file(name);
        let (ca, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
        let number = port.to_string();
        let server = [
            ["--port", "0"],
            ["--tls-port", &number],
            ["--tls-ca-cert-file", &ca],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
        ];
        let (own, own_key) = (file("client.pem"), file("client.key"));
        let client = ["--tls", "--cacert", &ca, "--cert", &own, "--key", &own_key];
        Self::begin(folder, port, &[server.as_flattened(), configuration].concat(), &client)
    }

    fn begin(folder: &Path, port: u16, configuration: &[&str], entrance: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let mut redis = Self {
            port,
            folder: folder.to_owned(),
            configuration: owned(configuration),
            entrance: owned(entrance),
            process: None,
        };
        redis.restart()?;
        Ok(redis)
    }

    /// Starts it again on the same port, with what is in its folder: nothing, unless a copy was saved there.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.folder)
            .args(&self.configuration);
        self.process = Some(Process::start("Redis", &mut command, &self.folder.join("redis.log"))?);
        wait::until("Redis answering", || {
            self.ask(&["PING"]).ok().filter(|answer| answer == "PONG")
        })?;
        Ok(())
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs one command.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("timeout")
            .args(["5", "redis-cli", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(&self.entrance)
            .args(arguments)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(Failure::new(format!("redis-cli {arguments:?}: {text}")))
        }
    }

    /// Keys that match a pattern.
    ///
    /// # Errors
    /// It does not answer.
    pub fn keys(&self, pattern: &str) -> Result<Vec<String>> {
        let text = self.ask(&["--scan", "--pattern", pattern])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Its process; `None` after a failed start.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    /// Stops its execution: connections stay open and nothing answers.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        if let Some(process) = &self.process {
            process.thaw();
        }
    }
}
