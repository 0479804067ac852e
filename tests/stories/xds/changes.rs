//! Many changes while requests flow.

use super::{Load, plan, started};
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::upstream;
use serde_json::json;
use std::time::Instant;

fn origin(name: &'static str) -> Origin {
    Origin::start(move |_| Reply::ok(name).header("cache-control", "no-store")).unwrap()
}

#[test]
fn two_hundred_changes_fail_no_request() {
    let stack = started(&plan(Xds::Delta, json!({})), origin("content"));
    let load = Load::start(&stack, 4);
    let profiles = ["high_concurrency", "low_latency", "bandwidth_optimized"];
    let mut times = Vec::new();
    for number in 0..200_usize {
        let start = Instant::now();
        let answer = if number % 2 == 0 {
            stack
                .rest()
                .merge_patch("/settings", &json!({"max_connections": 10 + number}))
        } else {
            let profile = profiles[number / 2 % profiles.len()];
            stack
                .rest()
                .send(&Request::new("POST", &format!("/settings/profile/{profile}")))
        };
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        stack.wait_xds().unwrap();
        times.push(start.elapsed());
    }
    let served = load.end();
    times.sort_unstable();
    println!(
        "{served} requests; written to acknowledged: p50 {:?}, p99 {:?}",
        times[100], times[197]
    );
    assert_eq!(
        stack
            .envoy
            .runtime("circuit_breakers.origin.default.max_connections")
            .unwrap(),
        "208"
    );
    assert_eq!(stack.envoy.stat("cluster_manager.cds.update_rejected"), 0);
}

#[test]
fn one_upstream_replaces_another_between_two_requests() {
    let stack = started(&plan(Xds::Delta, json!({})), origin("first"));
    let second = origin("second");
    assert_eq!(stack.envoy.get("/").unwrap().text(), "first");
    let load = Load::start(&stack, 2);
    // By a name, so that the new cluster has to resolve it first.
    let address = format!("localhost:{}", second.address().port());
    stack
        .change_settings(&json!({
            "upstreams": [upstream("second", &address)],
            "routes": [{"name": "all", "upstream": "second"}],
        }))
        .unwrap();
    stack.wait_xds().unwrap();
    assert_eq!(stack.envoy.get("/").unwrap().text(), "second");
    load.end();
    let clusters = stack.envoy.config_dump("dynamic_active_clusters").unwrap().to_string();
    assert!(
        clusters.contains("\"second\"") && !clusters.contains("\"origin\""),
        "{clusters}"
    );
}

#[test]
fn a_hundred_upstreams_are_told_apart() {
    let stack = started(&plan(Xds::StateOfTheWorld, json!({})), origin("content"));
    let address = stack.origin.address().to_string();
    let names: Vec<String> = (0..100).map(|number| format!("u{number:03}")).collect();
    let upstreams: Vec<_> = names.iter().map(|name| upstream(name, &address)).collect();
    let route = |name: &String| json!({"name": name, "path_prefix": format!("/{name}/"), "upstream": name});
    let routes: Vec<_> = names.iter().map(route).collect();
    stack
        .change_settings(&json!({"upstreams": upstreams, "routes": routes}))
        .unwrap();
    stack.wait_xds().unwrap();
    for name in &names {
        assert_eq!(stack.envoy.get(&format!("/{name}/")).unwrap().status, 200, "{name}");
        assert_eq!(
            stack.envoy.stat(&format!("cluster.{name}.upstream_rq_200")),
            1,
            "{name}"
        );
    }
}
