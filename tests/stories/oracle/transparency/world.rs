//! Two Envoys in the shipped form, one with the filter and one without, each in front of origins of its own.

use super::ask::{Ask, Manner, Wire};
use super::breaker_rule::{MINIMUM, PROBES, WAIT, WINDOW};
use super::h1::H1;
use super::h2::H2;
use super::habits::HABITS;
use super::history::{History, LEAVES};
use super::origin::Origin;
use super::seen::{End, Seen};
use super::tunnel::{AUTHORITIES, FarEnd};
use crate::oracle::configuration::Configuration;
use e2e::Result;
use e2e::envoy::Envoy;
use e2e::grpc_origin::GrpcOrigin;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

/// Clusters of the same origin, each with a breaker of its own.
const CLUSTERS: [&str; 5] = ["failing", "seldom", "left", "sse", "sse-cut"];

/// One Envoy with its origins.
pub(super) struct Side {
    address: SocketAddr,
    _running: (Envoy, Origin, GrpcOrigin, FarEnd),
}

/// Both, and what happened.
pub(super) struct World {
    pub(super) with: Side,
    pub(super) without: Side,
    /// Of the side with the filter.
    pub(super) history: Arc<History>,
    folder: Option<TempDir>,
    runtime: Runtime,
}

impl World {
    pub(super) fn start() -> Result<Self> {
        let started = Instant::now();
        let folder = tempfile::Builder::new().prefix("optimizer-oracle-").tempdir()?;
        let settings = json!({"breaker": {
            "window": format!("{}s", WINDOW.as_secs()), "minimum_calls": MINIMUM, "probes": PROBES, "jitter_percent": 0,
            "open_wait": format!("{}ms", WAIT.as_millis()), "open_wait_max": format!("{}ms", WAIT.as_millis())}});
        let [history, theirs] = [(); 2].map(|()| Arc::new(History::new(started)));
        let with = Side::start(&folder.path().join("with"), Some(&settings), Arc::clone(&history))?;
        let without = Side::start(&folder.path().join("without"), None, theirs)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            with,
            without,
            history,
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
}

impl Side {
    fn start(folder: &Path, settings: Option<&Value>, history: Arc<History>) -> Result<Self> {
        let origin = Origin::start(history)?;
        let grpc = GrpcOrigin::start()?;
        let far_end = FarEnd::start()?;
        let mut configuration = Configuration::new(settings, origin.address().port())?;
        for cluster in CLUSTERS {
            configuration.add_cluster(cluster, origin.address().port());
        }
        configuration.add_cluster("grpc", grpc.address().port());
        configuration.add_cluster("tunnel", far_end.port());
        let protocol = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/explicit_http_config";
        for at in 0..=CLUSTERS.len() {
            let options = configuration
                .cluster(at)
                .pointer_mut(protocol)
                .expect("protocol options");
            options["http_protocol_options"]["enable_trailers"] = json!(true);
        }
        *configuration
            .cluster(CLUSTERS.len() + 1)
            .pointer_mut(protocol)
            .expect("protocol options") = json!({"http2_protocol_options": {}});
        configuration.manager(0)["http_protocol_options"]["enable_trailers"] = json!(true);
        let [ended, passed] = AUTHORITIES;
        configuration.set_virtual_hosts(
            0,
            json!([
                {"name": "api", "domains": ["*"], "routes": routes()},
                {"name": "ended", "domains": [ended], "routes": [tunnel("tunnel", json!({"connect_config": {}}))]},
                {"name": "passed", "domains": [passed], "routes": [tunnel("origin", json!({}))]},
            ]),
        );
        let envoy = configuration.start(folder)?;
        Ok(Self {
            address: envoy.address(),
            _running: (envoy, origin, grpc, far_end),
        })
    }
}

/// A route for `CONNECT`.
fn tunnel(cluster: &str, how: Value) -> Value {
    let mut upgrade = how;
    upgrade["upgrade_type"] = json!("CONNECT");
    json!({"name": "tunnel", "match": {"connect_matcher": {}},
        "route": {"cluster": cluster, "timeout": "0s", "upgrade_configs": [upgrade]}})
}

fn routes() -> Value {
    let route = |name: &str, prefix: &str, cluster: &str| {
        json!({"name": name, "match": {"prefix": prefix},
            "metadata": {"filter_metadata": {"api_optimizer": {"response_header_rules": false}}},
            "route": {"cluster": cluster, "timeout": "0s", "retry_policy": {"per_try_timeout": "60s"}}})
    };
    let apart = HABITS
        .iter()
        .filter(|habit| CLUSTERS.contains(&habit.cluster()))
        .map(|habit| route(habit.name, &format!("/{}/", habit.name), habit.cluster()));
    let grpc = ["call", "message", "only", "stream"].map(|name| route(name, &format!("/{name}"), "grpc"));
    json!(
        apart
            .chain(grpc)
            .chain([route("origin", "/", "origin")])
            .collect::<Vec<_>>()
    )
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
                self.exchange(runtime, side, &leaving, &format!("{id}{LEAVES}-{at}"));
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
