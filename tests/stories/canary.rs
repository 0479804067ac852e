//! A change for part of the fleet first.

use e2e::client::Request;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

/// Three Envoys before an origin that names no lifetime: whether a response is stored shows which settings are in force.
fn fleet() -> (Stack, Vec<Envoy>) {
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let others = ["second", "third"].map(|node| stack.another_envoy(node).unwrap());
    wait::until("three Envoys", || {
        let rollout = stack.rest().document("/settings/rollout").ok()?;
        let all = rollout["envoys"].as_array().is_some_and(|envoys| envoys.len() == 3);
        (all && rollout["complete"] == true).then_some(())
    })
    .unwrap();
    (stack, others.into())
}

fn storing(stack: &Stack, others: &[Envoy], page: &str) -> usize {
    std::iter::once(&stack.envoy)
        .chain(others)
        .filter(|envoy| {
            let status = envoy.get(page).unwrap().cache_status();
            status.contains("stored")
        })
        .count()
}

fn try_on_a_third(stack: &Stack) -> Value {
    let request = Request::new("PATCH", "/settings?canary=30&wait=all&timeout=10s")
        .header("content-type", "application/merge-patch+json")
        .header("x-reason", "longer lifetime")
        .body(r#"{"default_ttl": "60s"}"#);
    let answer = stack.rest().send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

fn post(stack: &Stack, path: &str) -> Value {
    let answer = stack.rest().send(&Request::new("POST", path)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

#[test]
fn a_canary_runs_on_its_share_until_it_is_promoted_or_given_up() {
    let (mut stack, others) = fleet();
    let before = stack.rest().document("/settings").unwrap();
    let tried = try_on_a_third(&stack);
    assert_eq!((&tried["canary"], &tried["revision"]), (&json!(true), &json!(2)));
    assert_eq!(storing(&stack, &others, "/tried"), 1, "one of three");
    assert_eq!(
        stack.rest().document("/settings").unwrap(),
        before,
        "not the settings yet"
    );
    let seen = stack.rest().document("/settings/canary").unwrap();
    assert_eq!(seen["canary"]["envoys"][0]["in_force"], true, "{seen}");
    assert_eq!(seen["canary"]["reason"], "longer lifetime");
    let meanwhile = stack
        .rest()
        .merge_patch("/settings", &json!({"cache_size": 5}))
        .unwrap();
    assert_eq!(
        (meanwhile.status, meanwhile.json().unwrap()["code"].clone()),
        (409, json!("canary_under_way"))
    );

    let aborted = post(&stack, "/settings/canary/abort?wait=all&timeout=10s&reason=slower");
    assert_eq!(aborted["revision"], 3);
    assert_eq!(storing(&stack, &others, "/aborted"), 0);
    let history = stack.rest().document("/settings/history").unwrap();
    let last = history.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["door"], &last["reason"]),
        (&json!("canary"), &json!("canary 2 given up slower"))
    );

    assert_eq!(try_on_a_third(&stack)["revision"], 4);
    assert_eq!(
        post(&stack, "/settings/canary/promote?wait=all&timeout=10s")["revision"],
        4
    );
    assert_eq!(storing(&stack, &others, "/promoted"), 3);
    assert_eq!(stack.rest().document("/settings").unwrap()["default_ttl"], "1m");
    let none = stack
        .rest()
        .send(&Request::new("POST", "/settings/canary/promote"))
        .unwrap();
    assert_eq!(none.status, 409);

    // A control plane that is lost in the middle of a trial does not make it everybody's: what was in force is issued above it.
    assert_eq!(tried["revision"], 2);
    let cut = Request::new("PATCH", "/settings?canary=30&wait=all&timeout=10s").body(r#"{"default_ttl": "0s"}"#);
    assert_eq!(stack.rest().send(&cut).unwrap().status, 200);
    assert_eq!(storing(&stack, &others, "/cut"), 2);
    stack.control().kill();
    stack.control().restart().unwrap();
    wait::until("all three on settings above the canary", || {
        let rollout = stack.rest().document("/settings/rollout").ok()?;
        let all = rollout["envoys"].as_array().is_some_and(|envoys| envoys.len() == 3);
        (all && rollout["complete"] == true && rollout["revision"].as_u64() >= Some(6)).then_some(())
    })
    .unwrap();
    assert_eq!(storing(&stack, &others, "/after"), 3);
}
