//! What is under test: two Envoys with the filter, two replicas of the control plane, and Redis with the shared tier.

use e2e::bootstrap::{Bootstrap, Xds};
use e2e::control_plane::{ControlPlane, Options};
use e2e::envoy::Envoy;
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::redis::Redis;
use e2e::rest::Rest;
use e2e::stack::upstream;
use e2e::{Failure, Result, artefacts, wait};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

const WORKERS: u32 = 2;
/// Of Envoys, and of replicas.
pub(crate) const EACH: usize = 2;
/// Longest wait for something to be well again: the machine may have other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// A bound, and what goes first at it, as in the shipped manifest: every range that a client makes up is a response of its own.
const AS_SHIPPED: [&str; 4] = ["--maxmemory", "24mb", "--maxmemory-policy", "volatile-lru"];
/// Memory in use without what some keys take.
const USED: &str = "local used = tonumber(string.match(redis.call('INFO', 'memory'), 'used_memory:(%d+)')) \
     for _, key in ipairs(KEYS) do used = used - (redis.call('MEMORY', 'USAGE', key, 'SAMPLES', '0') or 0) end return used";
/// What replicas keep a number of, of whatever size: reports for a replica that comes up, their journal, purges.
const KEPT: [&str; 3] = [
    "api-optimizer:{replicas}:news",
    "api-optimizer:{replicas}:journal",
    "api-optimizer:tier:{purges}",
];
/// How long what is stale may stand in for an origin that cannot be reached.
pub(crate) const ON_OUTAGE_S: u64 = 10;

/// An Envoy of one life after another, each with a name of its own, as pods have.
#[derive(Debug)]
pub(crate) struct Lives {
    bootstrap: Bootstrap,
    folder: PathBuf,
    number: usize,
    life: u32,
    pub(crate) envoy: Option<Envoy>,
}

impl Lives {
    /// Starts it anew and waits until it takes requests.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.envoy = None;
        self.life += 1;
        self.bootstrap.node_id = format!("envoy-{}.{}", self.number, self.life);
        let envoy = self.envoy.insert(Envoy::start(&self.bootstrap, WORKERS, &self.folder)?);
        wait::until_within(PATIENCE, "an Envoy ready", || {
            (envoy.is_ready() || envoy.process().ended().is_some()).then_some(())
        })?;
        envoy.wait_ready()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(envoy) = &mut self.envoy {
            envoy.process().kill();
        }
    }

    pub(crate) fn node_id(&self) -> &str {
        &self.bootstrap.node_id
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Fleet {
    envoys: Vec<Mutex<Lives>>,
    controls: Vec<Mutex<ControlPlane>>,
    redis: Mutex<Redis>,
    addresses: Vec<SocketAddr>,
    rests: Vec<Rest>,
    folder: TempDir,
}

impl Fleet {
    /// Starts it in front of an origin.
    pub(crate) fn start(origin: SocketAddr) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("optimizer-soak-").tempdir()?;
        let redis = Redis::start_with(folder.path(), &AS_SHIPPED)?;
        let (mut controls, mut rests, mut envoys, mut addresses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for number in 0..EACH {
            let own = folder.path().join(format!("control-{number}"));
            std::fs::create_dir_all(&own)?;
            let options = Options {
                rest_port: free_port()?,
                grpc_port: free_port()?,
                state_dir: own.join("state"),
                config_dir: None,
                environment: [
                    ("REDIS_URL", redis.url().as_str()),
                    ("REPLICAS", "true"),
                    ("RUST_LOG", "warn"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            };
            let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, ("127.0.0.1".to_owned(), origin.port()));
            bootstrap.wasm = Some(artefacts::filter()?);
            bootstrap.grpc_port = Some(options.grpc_port);
            bootstrap.rest_port = Some(options.rest_port);
            // Each takes its configuration in another of the two ways.
            bootstrap.xds = Some(if number == 0 { Xds::StateOfTheWorld } else { Xds::Delta });
            addresses.push((Ipv4Addr::LOCALHOST, bootstrap.listen_port).into());
            let rest = Rest::new((Ipv4Addr::LOCALHOST, options.rest_port).into());
            let mut control = ControlPlane::start(options, &own)?;
            control.wait_live()?;
            wait_ready(&rest)?;
            rests.push(rest);
            controls.push(Mutex::new(control));
            let own = folder.path().join(format!("envoy-{number}"));
            std::fs::create_dir_all(&own)?;
            envoys.push(Mutex::new(Lives {
                bootstrap,
                folder: own,
                number,
                life: 0,
                envoy: None,
            }));
        }
        let fleet = Self {
            envoys,
            controls,
            redis: Mutex::new(redis),
            addresses,
            rests,
            folder,
        };
        fleet.change(0, &settings(origin))?;
        for number in 0..EACH {
            fleet.envoy(number).begin()?;
        }
        fleet.wait_connected()?;
        Ok(fleet)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where clients reach an Envoy.
    pub(crate) fn address(&self, envoy: usize) -> SocketAddr {
        self.addresses[envoy]
    }

    pub(crate) fn rest(&self, replica: usize) -> Rest {
        self.rests[replica]
    }

    pub(crate) fn envoy(&self, number: usize) -> MutexGuard<'_, Lives> {
        lock(&self.envoys[number])
    }

    pub(crate) fn control(&self, number: usize) -> MutexGuard<'_, ControlPlane> {
        lock(&self.controls[number])
    }

    pub(crate) fn redis(&self) -> MutexGuard<'_, Redis> {
        lock(&self.redis)
    }

    /// Names of the Envoys that live.
    pub(crate) fn node_ids(&self) -> Vec<String> {
        (0..EACH)
            .map(|number| self.envoy(number).node_id().to_owned())
            .collect()
    }

    /// Changes settings through a replica.
    pub(crate) fn change(&self, replica: usize, change: &Value) -> Result<()> {
        let answer = self
            .rest(replica)
            .merge_patch("/settings?wait=all&timeout=10s", change)?;
        match answer.status {
            200 | 202 => Ok(()),
            status => Err(Failure::new(format!(
                "a change was answered {status}: {}",
                answer.text()
            ))),
        }
    }

    /// Waits until both replicas say that both Envoys run on the present settings.
    pub(crate) fn wait_connected(&self) -> Result<()> {
        let names = self.node_ids();
        for rest in &self.rests {
            wait::until_within(PATIENCE, "both Envoys on the settings", || {
                let rollout = rest.document("/settings/rollout").ok()?;
                let listed = rollout["envoys"].to_string();
                let all = names.iter().all(|name| listed.contains(name.as_str()));
                (all && rollout["complete"] == true).then_some(())
            })?;
        }
        Ok(())
    }

    /// Memory that Redis has in use, without the streams of which the replicas keep so many entries; `None` when it does not answer.
    pub(crate) fn redis_mb(&self) -> Option<f64> {
        let redis = self.redis();
        let mut asked = vec!["EVAL", USED, "3"];
        asked.extend(KEPT);
        let bytes: f64 = redis.ask(&asked).ok()?.parse().ok()?;
        Some(bytes / f64::from(1 << 20))
    }

    /// Does something with each process of ours that runs: its name and the process.
    pub(crate) fn each_process(&self, mut look: impl FnMut(&str, &Process)) {
        for number in 0..EACH {
            if let Some(envoy) = &mut self.envoy(number).envoy {
                look(&format!("envoy {number}"), envoy.process());
            }
            if let Some(control) = self.control(number).process() {
                look(&format!("control plane {number}"), control);
            }
        }
    }

    /// Keeps logs and state; where they are.
    pub(crate) fn keep(self) -> PathBuf {
        let Self {
            envoys,
            controls,
            redis,
            folder,
            ..
        } = self;
        drop((envoys, controls, redis));
        folder.keep()
    }
}

/// Waits until a replica takes part.
pub(crate) fn wait_ready(rest: &Rest) -> Result<()> {
    wait::until_within(PATIENCE, "the control plane ready", || {
        let answer = rest.get("/health/ready").ok()?;
        (answer.status == 200).then_some(())
    })
}

/// Smaller than what clients ask for, so that the store is full and evicts.
fn settings(origin: SocketAddr) -> Value {
    json!({
        "upstreams": [upstream("origin", &origin.to_string())],
        "cache_size": 400,
        "cache_memory_mb": 16,
        "shared_tier": {"enabled": true, "deadline": "200ms", "max_size": "256KB"},
        "freshness": {"max_stale_on_outage": format!("{ON_OUTAGE_S}s")},
        "breaker": {"open_wait": "2s", "open_wait_max": "5s"},
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
