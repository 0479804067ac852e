//! Runs the suite: its origin behind Envoy, its client in front.

use e2e::bootstrap::Bootstrap;
use e2e::client::{Connection, Request};
use e2e::control_plane::ControlPlane;
use e2e::envoy::Envoy;
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::{Failure, Result, artefacts, wait};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Several times what a run takes; the suite's client has no limit of its own.
const LIMIT: Duration = Duration::from_secs(180);

/// A test as the suite describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Test {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) depends_on: Vec<String>,
}

/// What the suite found: true, or why not.
pub(crate) type Findings = BTreeMap<String, Value>;

/// Folder with the suite, its lock file and the record.
pub(crate) fn folder() -> PathBuf {
    artefacts::workspace().join("tests/conformance")
}

/// All tests that apply to a proxy.
pub(crate) fn tests() -> Result<Vec<Test>> {
    let output = Command::new("node").arg(folder().join("describe.mjs")).output();
    Ok(serde_json::from_slice(&succeeded("node describe.mjs", output)?.stdout)?)
}

/// One run through Envoy with `workers` workers, from `envoy/static.yaml` as `make run` has it: nothing in it is replaced but addresses,
/// ports and names of files. With the filter on the settings that the control plane starts with, or without it and the control plane.
pub(crate) fn run(workers: u32, with_filter: bool) -> Result<Findings> {
    let temporary = tempfile::Builder::new().prefix("conformance-").tempdir()?;
    let port = free_port()?;
    let _origin = start_origin(port, temporary.path())?;
    let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, ("127.0.0.1".to_owned(), port));
    bootstrap.access_log = Some(temporary.path().join("access.log"));
    let mut plane = None;
    if with_filter {
        bootstrap.wasm = Some(artefacts::filter()?);
        let control = ControlPlane::quiet(temporary.path())?;
        bootstrap.grpc_port = Some(control.grpc_address().port());
        plane = Some(control);
    }
    let mut envoy = Envoy::start(&bootstrap, workers, temporary.path())?;
    envoy.wait_ready()?;
    if let Some(plane) = &plane {
        wait_connected(plane)?;
    }
    let results = temporary.path().join("results.json");
    let mut client = Command::new("node");
    client
        .args(["--no-warnings", "cli.mjs"])
        .current_dir(suite())
        .env("npm_config_base", format!("http://{}", envoy.address()))
        .env_remove("npm_config_id")
        .env("npm_package_config_id", "");
    let mut client = Process::start("the suite's client", &mut client, &results)?;
    let status = wait::until_within(LIMIT, "the end of the suite", || client.ended())?;
    let text = std::fs::read_to_string(&results)?;
    // Notes of single tests may stand before the document.
    let start = text.rfind("\n{\n").map_or(0, |at| at + 1);
    serde_json::from_str(text.get(start..).unwrap_or_default()).map_err(|error| {
        Failure::new(format!(
            "the suite's client ended with {status} and no results: {error}"
        ))
    })
}

/// Settings are in force in every worker before the suite begins.
fn wait_connected(plane: &ControlPlane) -> Result<()> {
    let rest = plane.rest();
    wait::until("Envoy on the control plane's settings", || {
        let rollout = rest.document("/settings/rollout").ok()?;
        let connected = rollout["envoys"].as_array().is_some_and(|envoys| !envoys.is_empty());
        (connected && rollout["complete"] == true).then_some(())
    })
}

fn start_origin(port: u16, temporary: &Path) -> Result<Process> {
    let mut command = Command::new("node");
    command
        .arg("--import")
        .arg(folder().join("loopback.mjs"))
        .args(["--no-warnings", "server/server.mjs"])
        .current_dir(suite())
        .env("npm_config_protocol", "http")
        .env("npm_config_port", port.to_string())
        .env("npm_config_pidfile", temporary.join("server.pid"));
    let process = Process::start("the suite's origin", &mut command, &temporary.join("origin.log"))?;
    let address = (Ipv4Addr::LOCALHOST, port).into();
    wait::until("the suite's origin ready", || {
        Connection::open(address)
            .ok()?
            .exchange(&Request::get("/index.html").header("connection", "close"))
            .ok()
    })?;
    Ok(process)
}

fn suite() -> PathBuf {
    folder().join("node_modules/http-cache-tests")
}

fn succeeded(what: &str, output: std::io::Result<Output>) -> Result<Output> {
    let output = output.map_err(|error| Failure::from(error).during(what))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Failure::new(format!(
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
