//! An Envoy with all that settings can have: what it says is taken.

use super::{plan, started};
use e2e::bootstrap::Xds;
use e2e::origin::{Origin, Reply};
use e2e::wait;
use serde_json::{Value, json};

/// Most upstreams and routes that settings have, and their longest name.
const UPSTREAMS: usize = 256;
const NAME: usize = 64;

fn largest(xds: Xds) {
    let origin = Origin::start(|_| Reply::ok("content").header("cache-control", "no-store")).unwrap();
    let mut stack = started(&plan(xds, json!({})), origin);
    let address = stack.origin.address().to_string();
    let name = |number: usize| format!("{number:x<NAME$}");
    let upstream = |number: usize| json!({"name": name(number), "endpoints": [{"address": address}]});
    let route =
        |number: usize| json!({"name": name(number), "path_prefix": format!("/{number}/"), "upstream": name(number)});
    let upstreams: Vec<Value> = (0..UPSTREAMS).map(upstream).collect();
    let routes: Vec<Value> = (0..UPSTREAMS).map(route).collect();
    stack
        .change_settings(&json!({"upstreams": upstreams, "routes": routes}))
        .unwrap();
    stack.wait_xds().unwrap();
    // Statistics that were never used are not sent.
    for number in 0..UPSTREAMS {
        assert_eq!(stack.envoy.get(&format!("/{number}/")).unwrap().status, 200);
    }
    wait::until("all upstreams in the statistics", || {
        let rollout = stack.rest().document("/settings/rollout").ok()?;
        let shown = rollout["xds"]["envoys"][0]["upstreams"].as_array()?.len();
        (shown == UPSTREAMS).then_some(())
    })
    .unwrap();
    let log = stack.control().process().unwrap().output();
    assert!(!log.contains("message refused"), "{log}");
    let stats = stack.envoy.stats("");
    let used: Vec<&String> = stats
        .iter()
        .filter(|(_, value)| **value > 0)
        .map(|(name, _)| name)
        .collect();
    let text: usize = used.iter().map(|name| name.len()).sum();
    println!(
        "{} of {} statistics in use, {text} bytes of names",
        used.len(),
        stats.len()
    );
}

#[test]
fn an_envoy_with_all_upstreams_is_heard() {
    largest(Xds::StateOfTheWorld);
}

#[test]
fn an_envoy_with_all_upstreams_is_heard_by_delta_too() {
    largest(Xds::Delta);
}
