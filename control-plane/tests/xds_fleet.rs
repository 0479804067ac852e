//! Many simulated Envoys on one real control plane: each of them is told of every change. `make bench-xds` has the figures, with
//! ten times as many.

use e2e::ports::free_port;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::wait;
use e2e::xds_clients::{CLUSTERS, RUNTIME, XdsClients};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Instant;

const CLIENTS: u64 = 100;
const UPSTREAMS: usize = 100;
const CHANGES: usize = 10;

fn change(rest: &Rest, change: &Value) {
    let answer = rest.merge_patch("/settings", change).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn every_envoy_of_a_fleet_is_told_of_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let (rest_port, grpc_port) = (free_port().unwrap(), free_port().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_api-optimizer-control-plane"));
    command
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("REST_PORT", rest_port.to_string())
        .env("GRPC_PORT", grpc_port.to_string())
        .env("STATE_DIR", folder.path().join("state"))
        .env("RUST_LOG", "warn")
        .env_remove("CONFIG_DIR");
    let _plane = Process::start("the control plane", &mut command, &folder.path().join("log")).unwrap();
    let rest = Rest::new((Ipv4Addr::LOCALHOST, rest_port).into());
    wait::until("the control plane live", || rest.get("/health/live").ok()).unwrap();
    let upstream = |number| json!({"name": format!("u{number}"), "endpoints": [{"address": "192.0.2.1:80"}]});
    let upstreams: Vec<Value> = (0..UPSTREAMS).map(upstream).collect();
    change(&rest, &json!({ "upstreams": upstreams }));

    let mut clients = XdsClients::connect(CLIENTS, (Ipv4Addr::LOCALHOST, grpc_port).into()).unwrap();
    for number in 0..CHANGES {
        let begin = Instant::now();
        change(&rest, &json!({"max_connections": 1_000 + number}));
        clients.all_told(RUNTIME, begin).unwrap();
    }
    let begin = Instant::now();
    change(&rest, &json!({"http2": {"idle_timeout": "77s"}}));
    clients.all_told(CLUSTERS, begin).unwrap();

    let envoys = wait::until("all acknowledged", || {
        let mut rollout = rest.document("/settings/rollout").unwrap();
        (rollout["xds"]["complete"] == true).then(|| rollout["xds"]["envoys"].take())
    });
    assert_eq!(envoys.unwrap().as_array().unwrap().len(), 100);
}
