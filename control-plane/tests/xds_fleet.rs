//! Many simulated Envoys on one real control plane: each of them is told of every change, and what that costs.
//!
//! `XDS_CLIENTS=1000 cargo test --release -p api-optimizer-control-plane --test xds_fleet -- --nocapture` prints the figures; by
//! default it runs with a tenth of that.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const UPSTREAMS: usize = 100;
const CHANGES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

struct Plane {
    process: Child,
    rest: u16,
    grpc: u16,
    _state: tempfile::TempDir,
}

impl Plane {
    async fn start() -> Self {
        let free = || {
            std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let (rest, grpc) = (free(), free());
        let state = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_api-optimizer-control-plane"))
            .env("LISTEN_ADDRESS", "127.0.0.1")
            .env("REST_PORT", rest.to_string())
            .env("GRPC_PORT", grpc.to_string())
            .env("STATE_DIR", state.path())
            .env("RUST_LOG", "warn")
            .env_remove("CONFIG_DIR")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let plane = Self {
            process,
            rest,
            grpc,
            _state: state,
        };
        let start = Instant::now();
        while reqwest::get(plane.url("/health/live")).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "the control plane does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        plane
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.rest)
    }

    async fn change(&self, change: &Value) {
        let request = reqwest::Client::new().patch(self.url("/settings")).json(change);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn xds(&self) -> Value {
        let rollout: Value = reqwest::get(self.url("/settings/rollout"))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        rollout["xds"].clone()
    }

    /// CPU time in seconds and resident memory in megabytes; zeros where there is no procfs.
    fn used(&self) -> (f64, f64) {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap_or_default();
        let stat = read("stat");
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok());
        let status = read("status");
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kilobytes = resident.and_then(|text| text.trim().parse::<f64>().ok()).unwrap_or(0.0);
        (ticks.sum::<f64>() / 100.0, kilobytes / 1_000.0)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // An error means that it is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(type_url: &str, names: &[&str], nonce: String) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        response_nonce: nonce,
        ..Default::default()
    }
}

/// One Envoy: subscribes, acknowledges everything, and tells of what it got.
async fn client(grpc: u16, number: usize, told: mpsc::UnboundedSender<(Instant, DeltaDiscoveryResponse)>) {
    let mut service = AggregatedDiscoveryServiceClient::connect(format!("http://127.0.0.1:{grpc}"))
        .await
        .unwrap()
        .max_decoding_message_size(16 << 20);
    let (out, requests) = mpsc::channel(16);
    let node = Node {
        id: format!("envoy-{number}"),
        ..Default::default()
    };
    let first = DeltaDiscoveryRequest {
        node: Some(node),
        ..ask(CLUSTERS, &[], String::new())
    };
    out.send(first).await.unwrap();
    out.send(ask(RUNTIME, &["api_optimizer"], String::new())).await.unwrap();
    let mut responses = service
        .delta_aggregated_resources(ReceiverStream::new(requests))
        .await
        .unwrap()
        .into_inner();
    while let Ok(Some(response)) = responses.message().await {
        let ack = ask(&response.type_url, &[], response.nonce.clone());
        if out.send(ack).await.is_err() || told.send((Instant::now(), response)).is_err() {
            return;
        }
    }
}

/// Waits until so many clients were told of a kind; the times it took them, in order.
async fn all_told(
    inbox: &mut mpsc::UnboundedReceiver<(Instant, DeltaDiscoveryResponse)>,
    count: usize,
    kind: &str,
    since: Instant,
) -> Vec<Duration> {
    let mut times = Vec::new();
    while times.len() < count {
        let message = tokio::time::timeout(PATIENCE, inbox.recv()).await;
        let (at, response) = message
            .unwrap_or_else(|_| panic!("only {} of {count} were told", times.len()))
            .unwrap();
        if response.type_url == kind && at > since {
            times.push(at - since);
        }
    }
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn every_envoy_of_a_fleet_is_told_of_every_change() {
    let count = std::env::var("XDS_CLIENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    let plane = Plane::start().await;
    let upstream = |number| json!({"name": format!("u{number}"), "endpoints": [{"address": "192.0.2.1:80"}]});
    let upstreams: Vec<Value> = (0..UPSTREAMS).map(upstream).collect();
    plane.change(&json!({ "upstreams": upstreams })).await;

    let (told, mut inbox) = mpsc::unbounded_channel();
    let started = Instant::now();
    for number in 0..count {
        tokio::spawn(client(plane.grpc, number, told.clone()));
    }
    all_told(&mut inbox, count, RUNTIME, started).await;
    let connected = started.elapsed();

    let before = plane.used().0;
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let since = Instant::now();
        plane.change(&json!({"max_connections": 1_000 + change})).await;
        times.extend(all_told(&mut inbox, count, RUNTIME, since).await);
    }
    let (limits, _) = plane.used();
    let since = Instant::now();
    plane.change(&json!({"http2": {"idle_timeout": "77s"}})).await;
    let rebuilt = all_told(&mut inbox, count, CLUSTERS, since).await;
    let (after, resident) = plane.used();

    let start = Instant::now();
    while plane.xds().await["complete"] != true {
        assert!(start.elapsed() < PATIENCE, "not all acknowledged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(plane.xds().await["envoys"].as_array().unwrap().len(), count);
    times.sort_unstable();
    println!(
        "{count} clients, {UPSTREAMS} clusters: connected in {connected:.1?}; a limit reaches a client p50 {:.1?}, p99 {:.1?}, \
         for {:.1} ms of CPU; clusters reach the last client in {:.1?}, for {:.1} ms of CPU; {resident:.0} MB resident",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        (limits - before) * 1_000.0 / CHANGES as f64,
        rebuilt[rebuilt.len() - 1],
        (after - limits) * 1_000.0,
    );
}
