//! A master with a replica, and Sentinels that make the replica the master when it is lost.

use super::Redis;
use crate::ports::free_port;
use crate::process::Process;
use crate::{Result, wait};
use std::path::Path;
use std::process::Command;

const SERVICE: &str = "main";
const SENTINELS: usize = 3;

/// Both servers and their Sentinels.
#[derive(Debug)]
pub struct Guarded {
    /// The server that begins as master, and its replica.
    pub servers: [Redis; 2],
    sentinels: Vec<(u16, Process)>,
}

impl Guarded {
    /// Starts them, the servers with more of their configuration.
    ///
    /// # Errors
    /// Something is not installed, or does not start.
    pub fn start(folder: &Path, more: &[&str]) -> Result<Self> {
        let quick = [&["--repl-diskless-sync-delay", "0"], more].concat();
        let master = Redis::start_with(&folder.join("first"), &quick)?;
        let of = master.port().to_string();
        let replica = Redis::start_with(
            &folder.join("second"),
            &[quick.as_slice(), &["--replicaof", "127.0.0.1", &of]].concat(),
        )?;
        wait::until("the replica in step", || {
            let state = replica.ask(&["INFO", "replication"]).ok()?;
            state.contains("master_link_status:up").then_some(())
        })?;
        let sentinels = (0..SENTINELS)
            .map(|number| sentinel(&folder.join(format!("sentinel-{number}")), master.port()))
            .collect::<Result<_>>()?;
        let guarded = Self {
            servers: [master, replica],
            sentinels,
        };
        for (port, _) in &guarded.sentinels {
            wait::until("the Sentinels knowing each other and the replica", || {
                let known = cli(*port, &["SENTINEL", "MASTER", SERVICE])?;
                let field = |name: &str| {
                    let mut lines = known.lines().skip_while(|line| *line != name);
                    lines.nth(1).map(str::to_owned)
                };
                (field("num-other-sentinels")? == (SENTINELS - 1).to_string() && field("num-slaves")? == "1")
                    .then_some(())
            })?;
        }
        Ok(guarded)
    }

    /// Which server is the master, by a Sentinel.
    ///
    /// # Errors
    /// None says so.
    pub fn master(&self) -> Result<usize> {
        wait::until("a master", || {
            let told = self
                .sentinels
                .iter()
                .find_map(|(port, _)| cli(*port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]))?;
            let port: u16 = told.lines().nth(1)?.trim().parse().ok()?;
            self.servers.iter().position(|server| server.port() == port)
        })
    }

    /// Its URL for `user:password`.
    #[must_use]
    pub fn url(&self, who: &str) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis+sentinel://{who}@{}/{SERVICE}", hosts.join(","))
    }
}

fn sentinel(folder: &Path, master: u16) -> Result<(u16, Process)> {
    std::fs::create_dir_all(folder)?;
    let port = free_port()?;
    let configuration = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n",
        folder.display()
    );
    // A Sentinel writes into its own configuration.
    let file = folder.join("sentinel.conf");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new("redis-server");
    command.arg(&file).arg("--sentinel");
    Ok((
        port,
        Process::start("Sentinel", &mut command, &folder.join("sentinel.log"))?,
    ))
}

fn cli(port: u16, arguments: &[&str]) -> Option<String> {
    let output = Command::new("timeout")
        .args(["5", "redis-cli", "-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
