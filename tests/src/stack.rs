//! Origin, control plane and Envoy together.

use crate::bootstrap::Bootstrap;
use crate::control_plane::{ControlPlane, Options};
use crate::envoy::Envoy;
use crate::origin::Origin;
use crate::ports::free_port;
use crate::rest::Rest;
use crate::{Failure, Result, artefacts, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a story needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Envoy workers.
    pub workers: u32,
    /// Settings of the plugin configuration.
    pub settings: Value,
    /// With a control plane.
    pub control_plane: bool,
    /// With the filter that traps when asked.
    pub trap: bool,
    /// A ConfigMap volume for the control plane.
    pub config_dir: Option<std::path::PathBuf>,
    /// More of the control plane's environment.
    pub environment: Vec<(String, String)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 2,
            settings: json!({}),
            control_plane: true,
            trap: false,
            config_dir: None,
            environment: Vec::new(),
        }
    }
}

/// A running product with its origin. Its files are kept when the test that made it fails.
#[derive(Debug)]
pub struct Stack {
    /// Envoy with the filter.
    pub envoy: Envoy,
    /// The control plane, where the plan has one.
    pub control: Option<ControlPlane>,
    /// The API behind it.
    pub origin: Origin,
    folder: Option<TempDir>,
}

impl Stack {
    /// Starts everything, and waits until it is ready: Envoy takes requests, and the control plane has seen it.
    ///
    /// # Errors
    /// Something is not built or does not start.
    pub fn start(plan: &Plan, origin: Origin) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("optimizer-").tempdir()?;
        let mut control = None;
        let mut bootstrap = Bootstrap::bare(
            free_port()?,
            free_port()?,
            ("127.0.0.1".to_owned(), origin.address().port()),
        );
        bootstrap.wasm = Some(if plan.trap {
            artefacts::trap_filter()?
        } else {
            artefacts::filter()?
        });
        bootstrap.settings = plan.settings.to_string();
        if plan.control_plane {
            let options = Options {
                rest_port: free_port()?,
                grpc_port: free_port()?,
                state_dir: folder.path().join("state"),
                config_dir: plan.config_dir.clone(),
                environment: plan.environment.clone(),
            };
            bootstrap.grpc_port = Some(options.grpc_port);
            control = Some(ControlPlane::start(options, folder.path())?);
        }
        let envoy = Envoy::start(&bootstrap, plan.workers, folder.path())?;
        let mut stack = Self {
            envoy,
            control,
            origin,
            folder: Some(folder),
        };
        stack.envoy.wait_ready()?;
        if let Some(control) = &mut stack.control {
            control.wait_live()?;
            stack.wait_connected()?;
        }
        Ok(stack)
    }

    /// Waits until Envoy is connected to the control plane and runs on its settings, in every worker.
    ///
    /// # Errors
    /// It takes too long, or there is no control plane.
    pub fn wait_connected(&self) -> Result<()> {
        let rest = self.rest();
        wait::until("an Envoy connected to the control plane", || {
            let rollout = rest.document("/settings/rollout").ok()?;
            let connected = rollout["envoys"].as_array().is_some_and(|envoys| !envoys.is_empty());
            (connected && rollout["complete"] == true).then_some(())
        })
    }

    /// Changes settings through REST and waits until they are in force in every worker.
    ///
    /// # Errors
    /// The change is refused, or some worker does not follow in time.
    pub fn change_settings(&self, change: &Value) -> Result<()> {
        let answer = self.rest().merge_patch("/settings?wait=all&timeout=10s", change)?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(Failure::new(format!("{}: {}", answer.status, answer.text())))
        }
    }

    /// The REST interface.
    ///
    /// # Panics
    /// The plan has no control plane.
    #[must_use]
    pub fn rest(&self) -> Rest {
        self.control.as_ref().expect("a plan with a control plane").rest()
    }

    /// The control plane, to kill and restart.
    ///
    /// # Panics
    /// The plan has no control plane.
    pub fn control(&mut self) -> &mut ControlPlane {
        self.control.as_mut().expect("a plan with a control plane")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(folder) = self.folder.take() {
            eprintln!("--- Envoy's last lines; all files are in {}", folder.keep().display());
        }
        eprintln!("{}", self.envoy.process().last_lines(15));
        if let Some(process) = self.control.as_mut().and_then(ControlPlane::process) {
            eprintln!("--- the control plane's last lines\n{}", process.last_lines(15));
        }
    }
}
