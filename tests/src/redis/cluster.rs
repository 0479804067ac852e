//! A Redis Cluster on loopback.

use super::Redis;
use crate::ports::free_port;
use crate::{Failure, Result, wait};
use std::path::Path;
use std::process::Command;

/// Masters without replicas, each with its share of the keys.
#[derive(Debug)]
pub struct Cluster {
    /// Its servers.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts so many servers, with more of their configuration, and joins them; those that are left serve their part when one is
    /// lost.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(folder: &Path, nodes: usize, more: &[&str]) -> Result<Self> {
        let start = |number: usize| {
            let bus = free_port()?.to_string();
            let configuration = [
                ["--cluster-enabled", "yes"],
                ["--cluster-config-file", "nodes.conf"],
                ["--cluster-port", &bus],
                ["--cluster-node-timeout", "1000"],
                ["--cluster-require-full-coverage", "no"],
            ];
            let own = folder.join(format!("node-{number}"));
            Redis::start_with(&own, &[configuration.as_flattened(), more].concat())
        };
        let cluster = Self {
            nodes: (0..nodes).map(start).collect::<Result<_>>()?,
        };
        let joined = Command::new("redis-cli")
            .args(["--cluster", "create", "--cluster-yes", "--cluster-replicas", "0"])
            .args(cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())))
            .output()?;
        if !joined.status.success() {
            return Err(Failure::new(String::from_utf8_lossy(&joined.stdout).into_owned()));
        }
        cluster.wait_whole()?;
        Ok(cluster)
    }

    /// Waits until every server knows all of them to be well.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_whole(&self) -> Result<()> {
        for node in &self.nodes {
            wait::until("the cluster whole", || {
                let known = node.ask(&["CLUSTER", "NODES"]).ok()?;
                let state = node.ask(&["CLUSTER", "INFO"]).ok()?;
                (state.contains("cluster_state:ok") && !known.contains("fail")).then_some(())
            })?;
        }
        Ok(())
    }

    /// The server that has a key.
    ///
    /// # Errors
    /// None says so.
    pub fn holder(&self, key: &str) -> Result<usize> {
        let has = |node: &Redis| node.ask(&["EXISTS", key]).is_ok_and(|answer| answer == "1");
        let found = self.nodes.iter().position(has);
        found.ok_or_else(|| Failure::new(format!("no node has {key}")))
    }

    /// Its URL for `user:password`.
    #[must_use]
    pub fn url(&self, who: &str) -> String {
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+cluster://{who}@{}", hosts.join(","))
    }
}
