//! A real Redis.

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
    process: Option<Process>,
}

impl Redis {
    /// Starts it on a free port, its files in `folder`, and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut redis = Self {
            port: free_port()?,
            folder: folder.to_owned(),
            process: None,
        };
        redis.restart()?;
        Ok(redis)
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.folder);
        self.process = Some(Process::start("Redis", &mut command, &self.folder.join("redis.log"))?);
        wait::until("Redis answering", || {
            self.ask(&["PING"]).ok().filter(|answer| answer == "PONG")
        })?;
        Ok(())
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
