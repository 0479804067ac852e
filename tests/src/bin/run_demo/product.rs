//! The processes of one instance.

use crate::options::Options;
use e2e::bootstrap::Bootstrap;
use e2e::client::{Connection, Request};
use e2e::control_plane::{self, ControlPlane};
use e2e::envoy::Envoy;
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::{Failure, Result, artefacts};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

/// What was started. Dropped in this order: Envoy first, so that it ends its requests while the others are there.
pub(crate) struct Product {
    envoy: Envoy,
    control: ControlPlane,
    demo: Option<Process>,
    origin: (String, u16),
    logs: PathBuf,
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
                let mut command = Command::new(artefacts::demo_api()?);
                command.args(["--port", &port.to_string()]);
                let demo = Process::start("the demo API", &mut command, &logs.join("demo-api.log"))?;
                (Some(demo), ("127.0.0.1".to_owned(), port))
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
        let envoy = Envoy::start(&bootstrap, options.workers, &logs)?;
        Ok(Self {
            envoy,
            control,
            demo,
            origin,
            logs,
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

    /// Lets requests in flight end and takes no others, as the image does before it ends; there is no load balancer to tell.
    pub(crate) fn drain(&self) {
        let mut drain = Command::new("bash");
        drain
            .arg(artefacts::workspace().join("deploy/docker/drain"))
            .args(["0", "4"])
            .env("ADMIN_PORT", self.envoy.admin_address().port().to_string());
        if let Err(error) = drain.status() {
            eprintln!("requests in flight are not waited for: {error}");
        }
    }

    /// A sentence about a process that ended; `None` while all run.
    pub(crate) fn fallen(&mut self) -> Option<String> {
        let logs = self.logs.display().to_string();
        let all = [Some(self.envoy.process()), self.control.process(), self.demo.as_mut()];
        all.into_iter().flatten().find_map(|process| {
            let status = process.ended()?;
            let last = process.last_lines(1);
            Some(format!(
                "{} ended with {status}; its log is in {logs} and ends with: {last}",
                process.name()
            ))
        })
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
