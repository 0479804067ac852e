//! A change for a part of the fleet first, where it is Envoy's clusters and limits that change.

use super::{plan, started};
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Stack, upstream};
use e2e::wait;
use serde_json::{Value, json};

fn origin(name: &'static str) -> Origin {
    Origin::start(move |_| Reply::ok(name).header("cache-control", "no-store")).unwrap()
}

fn try_on_half(stack: &Stack, change: &Value) {
    let request = Request::new("PATCH", "/settings?canary=50&wait=all&timeout=10s")
        .header("content-type", "application/merge-patch+json")
        .body(change.to_string());
    let answer = stack.rest().send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    stack.wait_xds().unwrap();
}

fn end(stack: &Stack, how: &str) {
    let path = format!("/settings/canary/{how}?wait=all&timeout=10s");
    let answer = stack.rest().send(&Request::new("POST", &path)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    stack.wait_xds().unwrap();
}

fn follows(xds: Xds) {
    let (first, second) = (origin("first"), origin("second"));
    let replacement = upstream("second", &second.address().to_string());
    let stack = started(&plan(xds, json!({"max_connections": 2})), first);
    let beside = stack.envoy_beside("beside").unwrap();
    stack.wait_xds().unwrap();
    let envoys = [&stack.envoy, &beside];
    let limits = || {
        let mut limits = envoys.map(|envoy| {
            let limit = envoy.runtime("circuit_breakers.origin.default.max_connections");
            limit.unwrap_or_default()
        });
        limits.sort_unstable();
        limits
    };
    let answers = || {
        let mut answers = envoys.map(|envoy: &Envoy| envoy.get("/").unwrap().text());
        answers.sort_unstable();
        answers
    };
    assert_eq!(limits(), ["2", "2"]);

    try_on_half(&stack, &json!({"max_connections": 5}));
    wait::until("the limit on one of two", || (limits() == ["2", "5"]).then_some(())).unwrap();
    end(&stack, "promote");
    wait::until("the limit on both", || (limits() == ["5", "5"]).then_some(())).unwrap();

    // One that takes several steps there, and back.
    try_on_half(&stack, &json!({"upstreams": [replacement]}));
    wait::until("one of two leads elsewhere", || {
        (answers() == ["first", "second"]).then_some(())
    })
    .unwrap();
    end(&stack, "abort");
    wait::until("both lead where they did", || {
        (answers() == ["first", "first"]).then_some(())
    })
    .unwrap();

    try_on_half(&stack, &json!({"upstreams": [replacement]}));
    wait::until("one of two leads elsewhere", || {
        (answers() == ["first", "second"]).then_some(())
    })
    .unwrap();
    end(&stack, "promote");
    wait::until("both lead elsewhere", || {
        (answers() == ["second", "second"]).then_some(())
    })
    .unwrap();
}

#[test]
fn a_canary_reaches_its_envoys_and_no_other() {
    follows(Xds::StateOfTheWorld);
}

#[test]
fn a_canary_by_delta_too() {
    follows(Xds::Delta);
}
