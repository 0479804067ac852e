//! The real Envoy.

use crate::artefacts::Shell;
use crate::bootstrap::Bootstrap;
use crate::client::{Connection, Request, Response};
use crate::process::Process;
use crate::{Failure, Result, artefacts, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// Has Envoy judge a configuration, in YAML or JSON, without running it.
///
/// # Errors
/// There is no Envoy, or it refuses the configuration; with what it says.
pub fn validate(configuration: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("envoy.yaml");
    std::fs::write(&path, configuration)?;
    let mut command = Command::new(artefacts::envoy()?);
    command.args(["--mode", "validate", "--config-path"]).arg(&path);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    listen: SocketAddr,
    admin: SocketAddr,
    workers: u32,
}

impl Envoy {
    /// Starts Envoy with `workers` workers, its files in `folder`, without waiting for it.
    ///
    /// # Errors
    /// There is no Envoy, or it cannot be started.
    pub fn start(bootstrap: &Bootstrap, workers: u32, folder: &Path) -> Result<Self> {
        Self::start_under(bootstrap, workers, folder, &[])
    }

    /// As [`Envoy::start`], under a command that replaces itself by it, as `taskset` does.
    ///
    /// # Errors
    /// There is no Envoy, or it cannot be started.
    pub fn start_under(bootstrap: &Bootstrap, workers: u32, folder: &Path, wrapper: &[&str]) -> Result<Self> {
        Self::start_from(&bootstrap.render()?, bootstrap, workers, folder, wrapper)
    }

    /// As [`Envoy::start_under`], with a configuration of its own, whose ports are those of `bootstrap`.
    ///
    /// # Errors
    /// There is no Envoy, or it cannot be started.
    pub fn start_from(
        configuration: &str,
        bootstrap: &Bootstrap,
        workers: u32,
        folder: &Path,
        wrapper: &[&str],
    ) -> Result<Self> {
        let path = folder.join("envoy.yaml");
        std::fs::write(&path, configuration)?;
        let component = match bootstrap.wasm.as_deref().map(Shell::of) {
            Some(Shell::Native) => "dynamic_modules:info",
            Some(Shell::Wasm) | None => "wasm:info",
        };
        let binary = artefacts::envoy()?;
        let mut command = match wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .arg("--config-path")
            .arg(path)
            .args(["--concurrency", &workers.to_string()])
            .args(["--log-level", "warning", "--component-log-level", component])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"])
            .arg("--use-dynamic-base-id");
        if bootstrap.access_log.is_some() {
            // Whoever reads the log reads along; without this Envoy writes it every ten seconds.
            command.args(["--file-flush-interval-msec", "200"]);
        }
        let process = Process::start("Envoy", &mut command, &folder.join("envoy.log"))?;
        Ok(Self {
            process,
            listen: (Ipv4Addr::LOCALHOST, bootstrap.listen_port).into(),
            admin: (Ipv4Addr::LOCALHOST, bootstrap.admin_port).into(),
            workers,
        })
    }

    /// Waits until Envoy takes requests.
    ///
    /// # Errors
    /// It ended, or takes too long.
    pub fn wait_ready(&mut self) -> Result<()> {
        let ready = wait::until("Envoy ready", || {
            if let Some(status) = self.process.ended() {
                return Some(Err(Failure::new(format!(
                    "Envoy ended at its start with {status}: {}",
                    self.last_error()
                ))));
            }
            self.is_ready().then_some(Ok(()))
        });
        ready?
    }

    /// Whether Envoy takes requests now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.admin("GET", "/ready").is_ok_and(|answer| answer.status == 200)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its admin interface.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops its execution: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// CPU time it has used, in ticks of 1/100 s.
    #[must_use]
    pub fn cpu_ticks(&self) -> u64 {
        self.process.cpu_ticks()
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// No complete response.
    pub fn fetch(&self, request: &Request) -> Result<Response> {
        Connection::open(self.listen)?.exchange(request)
    }

    /// GET on a connection of its own.
    ///
    /// # Errors
    /// No complete response.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.fetch(&Request::get(path))
    }

    /// Statistics whose name holds `part`.
    #[must_use]
    pub fn stats(&self, part: &str) -> BTreeMap<String, u64> {
        let text = self
            .admin("GET", &format!("/stats?filter={part}"))
            .map(|answer| answer.text())
            .unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// One statistic; 0 when there is none of this name.
    #[must_use]
    pub fn stat(&self, name: &str) -> u64 {
        self.stats(name).get(name).copied().unwrap_or(0)
    }

    /// Waits until so many requests are in Envoy at once.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_for_requests(&self, count: usize) -> Result<()> {
        wait::until("all requests in Envoy", || {
            (self.stat("http.ingress.downstream_rq_active") >= count as u64).then_some(())
        })
    }

    /// A connection to each worker, in the order of the workers. The kernel deals connections out, so this opens more until
    /// every worker has had one.
    ///
    /// # Errors
    /// Some worker got none of many connections.
    pub fn connection_per_worker(&self) -> Result<Vec<Connection>> {
        let mut found: BTreeMap<usize, Connection> = BTreeMap::new();
        for _ in 0..200 {
            let before = self.connections_by_worker();
            let connection = Connection::open(self.listen)?;
            let after = wait::until("the connection in Envoy's statistics", || {
                let now = self.connections_by_worker();
                (now.iter().sum::<u64>() > before.iter().sum::<u64>()).then_some(now)
            })?;
            if let Some(worker) = (0..after.len()).find(|worker| after.get(*worker) > before.get(*worker)) {
                found.entry(worker).or_insert(connection);
            }
            if found.len() == self.workers as usize {
                return Ok(found.into_values().collect());
            }
        }
        Err(Failure::new("some worker got none of 200 connections"))
    }

    /// A part of what runs in this Envoy now.
    ///
    /// # Errors
    /// The admin interface does not answer with a document.
    pub fn config_dump(&self, resource: &str) -> Result<Value> {
        self.admin("GET", &format!("/config_dump?resource={resource}"))?.json()
    }

    /// The value of a runtime key.
    ///
    /// # Errors
    /// There is none.
    pub fn runtime(&self, key: &str) -> Result<String> {
        let runtime = self.admin("GET", "/runtime")?.json()?;
        let value = runtime["entries"][key]["final_value"].as_str();
        value
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("no runtime value {key}")))
    }

    fn connections_by_worker(&self) -> Vec<u64> {
        let stats = self.stats("worker_.*downstream_cx_total");
        let ours = format!("listener.{}_{}.worker_", self.listen.ip(), self.listen.port());
        let of = |worker: u32| {
            stats
                .get(&format!("{ours}{worker}.downstream_cx_total"))
                .copied()
                .unwrap_or(0)
        };
        (0..self.workers).map(of).collect()
    }

    fn admin(&self, method: &str, path: &str) -> Result<Response> {
        Connection::open(self.admin)?.exchange(&Request::new(method, path).header("connection", "close"))
    }

    fn last_error(&self) -> String {
        let text = self.process.output();
        let line = text
            .lines()
            .rev()
            .find(|line| line.contains("[critical]") || line.contains("[error]"));
        line.unwrap_or_default().chars().take(400).collect()
    }
}
