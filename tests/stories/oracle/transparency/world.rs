//! Two Envoys in the shipped form, one with the filter and one without, each in front of origins of its own.

use super::ask::{Ask, Manner, Wire};
use super::h1::H1;
use super::h2::H2;
use super::habits::HABITS;
use super::origin::Origin;
use super::seen::{End, Seen};
use crate::oracle::configuration::Configuration;
use e2e::Result;
use e2e::envoy::Envoy;
use e2e::grpc_origin::GrpcOrigin;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

/// The breaker's window, least number of calls and wait.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
pub(super) const MINIMUM: usize = 10;
pub(super) const WAIT: Duration = Duration::from_millis(500);

/// One Envoy with its origins.
pub(super) struct Side {
    address: SocketAddr,
    pub(super) origin: Origin,
    _running: (Envoy, GrpcOrigin),
}

/// Both, and what clients did to them.
pub(super) struct World {
    pub(super) with: Side,
    pub(super) without: Side,
    pub(super) started: Instant,
    /// Paths that were changed, and when the client knew.
    pub(super) changed: Mutex<Vec<(String, Instant)>>,
    folder: Option<TempDir>,
    runtime: Runtime,
}

impl World {
    pub(super) fn start() -> Result<Self> {
        let started = Instant::now();
        let folder = tempfile::Builder::new().prefix("optimizer-oracle-").tempdir()?;
        let settings = json!({"breaker": {
            "window": format!("{}s", WINDOW.as_secs()), "minimum_calls": MINIMUM, "jitter_percent": 0,
            "open_wait": format!("{}ms", WAIT.as_millis()), "open_wait_max": format!("{}ms", WAIT.as_millis())}});
        let with = Side::start(&folder.path().join("with"), Some(&settings), started)?;
        let without = Side::start(&folder.path().join("without"), None, started)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            with,
            without,
            started,
            changed: Mutex::default(),
            folder: Some(folder),
            runtime,
        })
    }

    /// Keeps the files of both Envoys; tells where.
    pub(super) fn keep(&mut self) -> String {
        let folder = self.folder.take().map(TempDir::keep);
        folder.map(|folder| folder.display().to_string()).unwrap_or_default()
    }

    pub(super) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Whether the failures that the origin itself counted can have the breaker open at this time. A call no longer ago than a wait, with
    /// time for a busy machine, ended with too many failures in the window, or was a probe that failed, after such a call.
    pub(super) fn may_be_open(&self, at: Instant) -> bool {
        let calls = self.calls(at);
        let mut opened = false;
        calls.iter().any(|(when, failed)| {
            let trips = is_too_much(&calls, *when);
            let keeps_open = trips || opened && *failed;
            opened |= trips;
            keeps_open && *when + WAIT + Duration::from_secs(2) >= at
        })
    }

    /// What was counted until then, in words.
    pub(super) fn counted(&self, at: Instant) -> String {
        let calls = self.calls(at);
        let (count, failures) = within(&calls, at, WINDOW);
        let last = calls
            .iter()
            .filter(|(_, failed)| *failed)
            .map(|(when, _)| at - *when)
            .min();
        format!("{failures} of {count} calls had failed, the last one {last:?} before")
    }

    /// Calls to those that fail at times: when, and whether they failed.
    fn calls(&self, until: Instant) -> Vec<(Instant, bool)> {
        let log = self.with.origin.log();
        let calls = log.iter().filter(|entry| entry.at <= until && is_failing(&entry.path));
        calls.map(|entry| (entry.at, entry.failed)).collect()
    }
}

/// Whether at least half of enough calls had failed by then; the breaker's window begins with a whole tenth of it.
fn is_too_much(calls: &[(Instant, bool)], until: Instant) -> bool {
    [WINDOW, WINDOW * 11 / 10].into_iter().any(|window| {
        let (count, failures) = within(calls, until, window);
        count >= MINIMUM && failures * 2 >= count
    })
}

/// Calls and failures in the time before.
fn within(calls: &[(Instant, bool)], until: Instant, window: Duration) -> (usize, usize) {
    let within = calls
        .iter()
        .filter(|(when, _)| *when <= until && *when + window >= until);
    within.fold((0, 0), |(count, failures), (_, failed)| {
        (count + 1, failures + usize::from(*failed))
    })
}

/// Whether the path's habit is to fail at times; those have a cluster of their own.
pub(super) fn is_failing(path: &str) -> bool {
    super::habits::of(path).fails
}

impl Side {
    fn start(folder: &Path, settings: Option<&Value>, started: Instant) -> Result<Self> {
        let origin = Origin::start(started)?;
        let grpc = GrpcOrigin::start()?;
        let mut configuration = Configuration::new(settings, origin.address().port())?;
        configuration.add_cluster("failing", origin.address().port());
        configuration.add_cluster("left", origin.address().port());
        configuration.add_cluster("grpc", grpc.address().port());
        let protocol = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/explicit_http_config";
        for at in 0..3 {
            let options = configuration
                .cluster(at)
                .pointer_mut(protocol)
                .expect("protocol options");
            options["http_protocol_options"]["enable_trailers"] = json!(true);
        }
        *configuration
            .cluster(3)
            .pointer_mut(protocol)
            .expect("protocol options") = json!({"http2_protocol_options": {}});
        configuration.manager(0)["http_protocol_options"]["enable_trailers"] = json!(true);
        configuration.set_virtual_hosts(0, json!([{"name": "api", "domains": ["*"], "routes": routes()}]));
        let envoy = configuration.start(folder)?;
        Ok(Self {
            address: envoy.address(),
            origin,
            _running: (envoy, grpc),
        })
    }
}

fn routes() -> Value {
    let route = |name: &str, prefix: &str, cluster: &str| {
        json!({"name": name, "match": {"prefix": prefix},
            "metadata": {"filter_metadata": {"api_optimizer": {"response_header_rules": false}}},
            "route": {"cluster": cluster, "timeout": "0s", "retry_policy": {"per_try_timeout": "60s"}}})
    };
    let failing = HABITS
        .iter()
        .filter(|habit| habit.fails)
        .map(|habit| (habit.name, "failing"));
    let grpc = ["call", "message", "only", "stream"].map(|name| (name, "grpc"));
    let named = failing
        .chain(grpc)
        .map(|(name, cluster)| route(name, &format!("/{name}"), cluster));
    json!(named.chain([route("origin", "/", "origin")]).collect::<Vec<_>>())
}

/// A client's connections to one Envoy.
#[derive(Debug, Default)]
pub(super) struct Client {
    h1: Option<H1>,
    h2: Option<H2>,
}

impl Client {
    /// Sends a request. A kept connection that turns out closed is replaced.
    pub(super) fn exchange(&mut self, runtime: &Handle, side: &Side, ask: &Ask, id: &str) -> Seen {
        if let Manner::Deserted(count) = ask.manner {
            let leaving = Ask {
                manner: Manner::Leave(0),
                ..ask.clone()
            };
            for at in 0..count {
                self.exchange(runtime, side, &leaving, &format!("{id}-left-{at}"));
            }
            let staying = Ask {
                manner: Manner::Read,
                ..ask.clone()
            };
            return self.exchange(runtime, side, &staying, id);
        }
        let keeps = matches!(ask.method, "GET" | "HEAD");
        if ask.wire == Wire::H2 {
            let Some(mut client) = self
                .h2
                .take()
                .filter(|_| keeps)
                .or_else(|| H2::open(runtime, side.address).ok())
            else {
                return Seen::new(Instant::now());
            };
            let (seen, kept) = client.exchange(ask, id);
            self.h2 = Some(client).filter(|_| kept);
            return seen;
        }
        let kept = self
            .h1
            .take()
            .filter(|_| keeps && !matches!(ask.manner, Manner::WebSocket));
        let was_kept = kept.is_some();
        let Some(mut client) = kept.or_else(|| H1::open(side.address).ok()) else {
            return Seen::new(Instant::now());
        };
        let (seen, keep) = client.exchange(ask, id);
        self.h1 = Some(client).filter(|_| keep);
        if was_kept && seen.status == 0 && seen.end == End::Cut {
            return self.exchange(runtime, side, ask, id);
        }
        seen
    }
}
