//! The real control plane.

use crate::ports::free_port;
use crate::process::Process;
use crate::rest::Rest;
use crate::{Failure, Result, artefacts, wait};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port for operators.
    pub rest_port: u16,
    /// Port for Envoys.
    pub grpc_port: u16,
    /// Where it keeps its settings.
    pub state_dir: PathBuf,
    /// A directory laid out like a Kubernetes ConfigMap volume.
    pub config_dir: Option<PathBuf>,
    /// More of its environment.
    pub environment: Vec<(String, String)>,
}

/// A control plane that can be killed and started again.
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    log: PathBuf,
    process: Option<Process>,
}

impl ControlPlane {
    /// One that answers and logs only warnings, with everything of its own in `folder`: for load.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn quiet(folder: &Path) -> Result<Self> {
        Self::quiet_with(folder, [])
    }

    /// The same, with more of its environment.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn quiet_with(folder: &Path, more: impl IntoIterator<Item = (&'static str, u64)>) -> Result<Self> {
        let log = ("RUST_LOG".to_owned(), "warn".to_owned());
        let more = more
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_string()));
        let options = Options {
            rest_port: free_port()?,
            grpc_port: free_port()?,
            state_dir: folder.join("state"),
            config_dir: None,
            environment: std::iter::once(log).chain(more).collect(),
        };
        let mut plane = Self::start(options, folder)?;
        plane.wait_live()?;
        Ok(plane)
    }

    /// Where Envoys connect.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.options.grpc_port).into()
    }

    /// Starts it, its log in `folder`, without waiting for it.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn start(options: Options, folder: &Path) -> Result<Self> {
        let mut plane = Self {
            options,
            log: folder.join("control-plane.log"),
            process: None,
        };
        plane.restart()?;
        Ok(plane)
    }

    /// Starts it again on the same ports with the same state.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new(artefacts::control_plane()?);
        command
            .env("LISTEN_ADDRESS", "127.0.0.1")
            .env("REST_PORT", self.options.rest_port.to_string())
            .env("GRPC_PORT", self.options.grpc_port.to_string())
            .env("STATE_DIR", &self.options.state_dir)
            .env_remove("CONFIG_DIR")
            .envs(self.options.environment.iter().cloned());
        if let Some(directory) = &self.options.config_dir {
            command.env("CONFIG_DIR", directory);
        }
        self.process = Some(Process::start("the control plane", &mut command, &self.log)?);
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It ended, or takes too long.
    pub fn wait_live(&mut self) -> Result<()> {
        let live = wait::until("the control plane live", || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                let lines = self
                    .process
                    .as_ref()
                    .map(|process| process.last_lines(3))
                    .unwrap_or_default();
                return Some(Err(Failure::new(format!(
                    "the control plane ended at its start with {status}: {lines}"
                ))));
            }
            self.is_live().then_some(Ok(()))
        });
        live?
    }

    /// Whether it answers.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.rest().get("/health/live").is_ok_and(|answer| answer.status == 200)
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    /// Where it keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.options.state_dir
    }

    /// Its process; `None` after a failed start.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Its REST interface; where it asks for tokens, with the first one of its file.
    #[must_use]
    pub fn rest(&self) -> Rest {
        let rest = self.stranger();
        match self.first_token() {
            Some(token) => rest.with_token(token),
            None => rest,
        }
    }

    /// Its REST interface for who has no token.
    #[must_use]
    pub fn stranger(&self) -> Rest {
        Rest::new((Ipv4Addr::LOCALHOST, self.options.rest_port).into())
    }

    fn first_token(&self) -> Option<&'static str> {
        let mut environment = self.options.environment.iter();
        let (_, file) = environment.find(|(name, _)| name == "AUTH_TOKENS_FILE")?;
        let tokens: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        // As long as the test runs.
        Some(tokens[0]["token"].as_str()?.to_owned().leak())
    }
}
