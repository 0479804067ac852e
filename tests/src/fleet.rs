//! Several Envoys, replicas of the control plane and one Redis.

use crate::bootstrap::{Bootstrap, Part};
use crate::control_plane::{ControlPlane, Options};
use crate::envoy::Envoy;
use crate::origin::Origin;
use crate::ports::free_port;
use crate::redis::Redis;
use crate::rest::Rest;
use crate::{Failure, Result, artefacts, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;

/// A running fleet. Its files are kept when the test that made it fails.
#[derive(Debug)]
pub struct Fleet {
    /// Envoys in the order of their start.
    pub envoys: Vec<Envoy>,
    /// Replicas of the control plane.
    pub controls: Vec<ControlPlane>,
    /// The tier's engine; without one every control plane has a tier of its own.
    pub redis: Option<Redis>,
    /// The API behind all.
    pub origin: Origin,
    /// What is different in the configuration of Envoys started from here on.
    pub parts: BTreeMap<Part, String>,
    /// Where Envoys and other replicas reach each of them.
    pub grpc_ports: Vec<u16>,
    settings: Value,
    folder: Option<TempDir>,
}

impl Fleet {
    /// Starts control planes with these settings, each for itself but for the tier, and no Envoy yet.
    ///
    /// # Errors
    /// Something is not built or does not start.
    pub fn start(with_redis: bool, replicas: usize, settings: Value, origin: Origin) -> Result<Self> {
        Self::start_with(with_redis, replicas, settings, origin, &[])
    }

    /// Starts replicas that act as one.
    ///
    /// # Errors
    /// Something is not built or does not start.
    pub fn replicated(replicas: usize, settings: Value, origin: Origin) -> Result<Self> {
        Self::start_with(true, replicas, settings, origin, &[("REPLICAS", "true")])
    }

    /// As the others, with more in the environment of the control planes.
    ///
    /// # Errors
    /// Something is not built or does not start.
    pub fn start_with(
        with_redis: bool,
        replicas: usize,
        settings: Value,
        origin: Origin,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("optimizer-").tempdir()?;
        let redis = if with_redis {
            Some(Redis::start(folder.path())?)
        } else {
            None
        };
        let mut fleet = Self {
            envoys: Vec::new(),
            controls: Vec::new(),
            redis,
            origin,
            parts: BTreeMap::new(),
            grpc_ports: Vec::new(),
            settings,
            folder: None,
        };
        for number in 0..replicas {
            let own = folder.path().join(format!("control-{number}"));
            std::fs::create_dir_all(&own)?;
            let url = fleet.redis.as_ref().map(|redis| ("REDIS_URL".to_owned(), redis.url()));
            let more = environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let options = Options {
                rest_port: free_port()?,
                grpc_port: free_port()?,
                state_dir: own.join("state"),
                config_dir: None,
                environment: url.into_iter().chain(more).collect(),
            };
            fleet.grpc_ports.push(options.grpc_port);
            let mut control = ControlPlane::start(options, &own)?;
            control.wait_live()?;
            wait::until("the control plane ready", || {
                let answer = control.rest().get("/health/ready").ok()?;
                (answer.status == 200).then_some(())
            })?;
            let answer = control.rest().merge_patch("/settings", &fleet.settings)?;
            if answer.status != 200 {
                return Err(Failure::new(format!("{}: {}", answer.status, answer.text())));
            }
            fleet.controls.push(control);
        }
        fleet.folder = Some(folder);
        Ok(fleet)
    }

    /// Starts one more Envoy at a replica and waits until it runs on the replica's settings; its number.
    ///
    /// # Errors
    /// It does not start, or does not connect.
    pub fn add_envoy(&mut self, replica: usize) -> Result<usize> {
        let number = self.envoys.len();
        let folder = self.folder.as_ref().ok_or_else(|| Failure::new("no folder"))?;
        let own = folder.path().join(format!("envoy-{number}"));
        std::fs::create_dir_all(&own)?;
        let mut bootstrap = Bootstrap::bare(
            free_port()?,
            free_port()?,
            ("127.0.0.1".to_owned(), self.origin.address().port()),
        );
        bootstrap.node_id = format!("envoy-{number}");
        bootstrap.parts.extend(self.parts.clone());
        bootstrap.wasm = Some(artefacts::filter()?);
        bootstrap.grpc_port = self.grpc_ports.get(replica).copied();
        let mut envoy = Envoy::start(&bootstrap, 1, &own)?;
        envoy.wait_ready()?;
        self.envoys.push(envoy);
        let rest = self.rest(replica);
        let name = bootstrap.node_id;
        wait::until("the new Envoy on its settings", || {
            let rollout = rest.document("/settings/rollout").ok()?;
            let listed = rollout["envoys"].to_string().contains(&name);
            (listed && rollout["complete"] == true).then_some(())
        })?;
        Ok(number)
    }

    /// A replica's REST interface.
    ///
    /// # Panics
    /// There is no such replica.
    #[must_use]
    pub fn rest(&self, replica: usize) -> Rest {
        self.controls[replica].rest()
    }

    /// Where a replica listens for Envoys.
    ///
    /// # Panics
    /// There is no such replica.
    #[must_use]
    pub fn grpc_address(&self, replica: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.grpc_ports[replica]).into()
    }

    /// A counter of the tier, all replicas together.
    #[must_use]
    pub fn tier_count(&self, name: &str) -> u64 {
        let of = |control: &ControlPlane| control.rest().document("/cache/tier").ok()?["counters"][name].as_u64();
        self.controls.iter().filter_map(of).sum()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("--- all files are in {}", folder.keep().display());
        }
    }
}
