//! Origin, control plane and Envoy together.

use crate::artefacts::Shell;
use crate::bootstrap::{Bootstrap, Part, Xds};
use crate::control_plane::{ControlPlane, Options};
use crate::envoy::Envoy;
use crate::origin::Origin;
use crate::ports::free_port;
use crate::rest::Rest;
use crate::{Failure, Result, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// What a story needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Envoy workers.
    pub workers: u32,
    /// Settings of the plugin configuration; with xDS, of the control plane before Envoy starts.
    pub settings: Value,
    /// With a control plane.
    pub control_plane: bool,
    /// With the filter that traps, or panics, when asked.
    pub trap: bool,
    /// The form of the filter, whatever `FILTER` names.
    pub shell: Option<Shell>,
    /// A ConfigMap volume for the control plane.
    pub config_dir: Option<std::path::PathBuf>,
    /// Envoy takes everything from the control plane; settings without upstreams get the origin as one.
    pub xds: Option<Xds>,
    /// File of Envoy's access log.
    pub access_log: Option<std::path::PathBuf>,
    /// Port of an OpenTelemetry collector on loopback, for Envoy and the control plane.
    pub collector: Option<u16>,
    /// More of the control plane's environment.
    pub environment: Vec<(String, String)>,
    /// The control plane asks Envoy's admin interface for its statistics; Envoy does not push them.
    pub scraped: bool,
    /// Port for Envoys; a free one when `None`.
    pub grpc_port: Option<u16>,
    /// Port of the upstream on loopback; the origin's when `None`.
    pub upstream_port: Option<u16>,
    /// File with Envoy's token for the control plane.
    pub control_token: Option<std::path::PathBuf>,
    /// Parts of Envoy's configuration to replace.
    pub parts: BTreeMap<Part, String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 2,
            settings: json!({}),
            control_plane: true,
            trap: false,
            shell: None,
            config_dir: None,
            xds: None,
            access_log: None,
            collector: None,
            environment: Vec::new(),
            scraped: false,
            grpc_port: None,
            upstream_port: None,
            control_token: None,
            parts: BTreeMap::new(),
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
    bootstrap: Bootstrap,
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
            (
                "127.0.0.1".to_owned(),
                plan.upstream_port.unwrap_or(origin.address().port()),
            ),
        );
        let shell = match plan.xds {
            // The control plane hands out modules for Wasm.
            Some(_) => Shell::Wasm,
            None => plan.shell.map_or_else(Shell::asked_for, Ok)?,
        };
        bootstrap.wasm = Some(if plan.trap {
            shell.trap_filter()?
        } else {
            shell.filter()?
        });
        bootstrap.settings = plan.settings.to_string();
        bootstrap.parts.clone_from(&plan.parts);
        bootstrap.control_token.clone_from(&plan.control_token);
        let mut environment = plan.environment.clone();
        if plan.scraped {
            bootstrap.parts.insert(Part::Statistics, String::new());
            let admin = format!("http://127.0.0.1:{}", bootstrap.admin_port);
            environment.push(("ENVOY_ADMIN_URLS".to_owned(), admin));
        }
        bootstrap.access_log.clone_from(&plan.access_log);
        bootstrap.collector = plan.collector;
        if let Some(port) = plan.collector {
            let endpoint = format!("http://127.0.0.1:{port}");
            environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint));
        }
        if plan.control_plane {
            let options = Options {
                rest_port: free_port()?,
                grpc_port: plan.grpc_port.map_or_else(free_port, Ok)?,
                state_dir: folder.path().join("state"),
                config_dir: plan.config_dir.clone(),
                environment,
            };
            bootstrap.grpc_port = Some(options.grpc_port);
            bootstrap.rest_port = Some(options.rest_port);
            control = Some(ControlPlane::start(options, folder.path())?);
        }
        if let (Some(xds), Some(control)) = (plan.xds, &mut control) {
            bootstrap.xds = Some(xds);
            control.wait_live()?;
            prepare(control, &plan.settings, &origin)?;
        }
        let envoy = Envoy::start(&bootstrap, plan.workers, folder.path())?;
        let mut stack = Self {
            envoy,
            control,
            origin,
            bootstrap,
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

    /// Waits until every Envoy that takes its configuration by xDS has taken the present revision in, without a refusal.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_xds(&self) -> Result<()> {
        let rest = self.rest();
        wait::until("the revision in force by xDS", || {
            let rollout = rest.document("/settings/rollout").ok()?;
            let there = rollout["xds"]["envoys"]
                .as_array()
                .is_some_and(|envoys| !envoys.is_empty());
            (there && rollout["xds"]["complete"] == true).then_some(())
        })
    }

    /// One more Envoy in front of the same origin, under the same control plane. Ready when this returns; the control plane may not
    /// have seen it yet.
    ///
    /// # Errors
    /// It does not start.
    pub fn another_envoy(&self, node_id: &str) -> Result<Envoy> {
        self.one_more(node_id, self.bootstrap.clone())
    }

    /// As [`Stack::another_envoy`], with its filter in another file, there or not.
    ///
    /// # Errors
    /// It does not start.
    pub fn envoy_with_filter(&self, node_id: &str, wasm: &Path) -> Result<Envoy> {
        let mut bootstrap = self.bootstrap.clone();
        bootstrap.wasm = Some(wasm.to_owned());
        self.one_more(node_id, bootstrap)
    }

    /// As [`Stack::another_envoy`], with a part of its configuration replaced.
    ///
    /// # Errors
    /// It does not start.
    pub fn envoy_with_part(&self, node_id: &str, part: Part, yaml: &str) -> Result<Envoy> {
        let mut bootstrap = self.bootstrap.clone();
        bootstrap.parts.insert(part, yaml.to_owned());
        self.one_more(node_id, bootstrap)
    }

    fn one_more(&self, node_id: &str, mut bootstrap: Bootstrap) -> Result<Envoy> {
        node_id.clone_into(&mut bootstrap.node_id);
        (bootstrap.listen_port, bootstrap.admin_port) = (free_port()?, free_port()?);
        let folder = self.folder().join(node_id);
        std::fs::create_dir_all(&folder)?;
        let mut envoy = Envoy::start(&bootstrap, 1, &folder)?;
        envoy.wait_ready()?;
        Ok(envoy)
    }

    /// As [`Stack::another_envoy`], once the control plane has seen it and it runs on the settings.
    ///
    /// # Errors
    /// It does not start, or does not connect.
    pub fn envoy_beside(&self, node_id: &str) -> Result<Envoy> {
        let envoy = self.another_envoy(node_id)?;
        let rest = self.rest();
        wait::until("one more Envoy connected to the control plane", || {
            let rollout = rest.document("/settings/rollout").ok()?;
            let nodes = rollout["envoys"].as_array()?;
            let connected = nodes.iter().any(|envoy| envoy["node_id"] == node_id);
            (connected && rollout["complete"] == true).then_some(())
        })?;
        Ok(envoy)
    }

    /// Where its files are.
    ///
    /// # Panics
    /// Never while it lives.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("kept until the end").path()
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

/// Gives the control plane its settings before there is an Envoy.
fn prepare(control: &ControlPlane, settings: &Value, origin: &Origin) -> Result<()> {
    let mut settings = settings.clone();
    if settings.get("upstreams").is_none() {
        settings["upstreams"] = json!([upstream("origin", &origin.address().to_string())]);
    }
    let answer = control.rest().merge_patch("/settings", &settings)?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(Failure::new(format!("{}: {}", answer.status, answer.text())))
    }
}

/// An upstream with one endpoint.
#[must_use]
pub fn upstream(name: &str, address: &str) -> Value {
    json!({ "name": name, "endpoints": [{ "address": address }] })
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
