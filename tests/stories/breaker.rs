//! An origin that dies trips the breaker, which keeps requests from it; one that returns is found again.

use e2e::client::Response;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

fn stack() -> Stack {
    let origin = Origin::start(|request| match request.path.as_str() {
        "/stored" => Reply::ok("stored").max_age(600),
        _ => Reply::ok("fetched"),
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let breaker = json!({"breaker": {"window": "2s", "minimum_calls": 5, "open_wait": "300ms", "open_wait_max": "1s", "probes": 1}});
    stack.change_settings(&breaker).unwrap();
    stack.envoy.get("/stored").unwrap();
    stack
}

/// A refusal of the breaker, as opposed to a failure that Envoy saw.
fn is_refusal(answer: &Response) -> bool {
    answer.status == 503 && answer.header("retry-after").is_some()
}

fn status(stack: &Stack) -> Value {
    stack.rest().document("/circuit-breaker/status").unwrap()
}

fn wait_for_state(stack: &Stack, wanted: &str) -> Value {
    wait::until(&format!("the state {wanted}"), || {
        Some(status(stack)).filter(|status| status["state"] == wanted)
    })
    .unwrap()
}

fn assert_recovers(stack: &Stack) {
    wait::until("the origin asked again", || {
        (stack.envoy.get("/x").unwrap().status == 200).then_some(())
    })
    .unwrap();
    wait::until("the state closed", || {
        stack.envoy.get("/x").unwrap();
        (status(stack)["state"] == "closed").then_some(())
    })
    .unwrap();
    for _ in 0..5 {
        assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    }
}

#[test]
fn an_origin_that_dies_trips_the_breaker_and_recovers() {
    let mut stack = stack();
    stack.origin.die();
    let refusal = wait::until("a refusal", || Some(stack.envoy.get("/x").unwrap()).filter(is_refusal)).unwrap();
    assert!(
        refusal
            .number("retry-after")
            .is_some_and(|seconds| (1..=60).contains(&seconds))
    );
    assert!(
        refusal
            .header("proxy-status")
            .is_some_and(|status| status.starts_with("api-optimizer; error=")),
        "{refusal:?}"
    );
    assert_eq!(
        refusal.header("content-type").as_deref(),
        Some("application/problem+json")
    );
    let seen = wait_for_state(&stack, "open");
    assert!(seen["failure_count"].as_u64().is_some_and(|count| count > 0), "{seen}");
    assert!(seen["upstreams"]["origin"].is_array(), "{seen}");
    // Meanwhile the cache answers.
    assert!(stack.envoy.get("/stored").unwrap().is_hit());

    stack.origin.revive().unwrap();
    assert_recovers(&stack);
    assert_eq!(stack.origin.count("/stored"), 1);
}

#[test]
fn an_origin_that_fails_is_left_alone_while_the_breaker_is_open() {
    let stack = stack();
    stack
        .change_settings(&json!({"breaker": {"open_wait": "10m", "open_wait_max": "10m"}}))
        .unwrap();
    stack.origin.script(|_| Reply::new(500));
    wait::until("a refusal", || Some(stack.envoy.get("/x").unwrap()).filter(is_refusal)).unwrap();
    wait_for_state(&stack, "open");
    let asked = stack.origin.total();
    for _ in 0..20 {
        assert!(is_refusal(&stack.envoy.get("/x").unwrap()));
    }
    assert_eq!(stack.origin.total(), asked);

    stack.origin.script(|_| Reply::ok("well"));
    let reset = e2e::client::Request::new("POST", "/circuit-breaker/origin/reset");
    let answer = stack.rest().send(&reset).unwrap();
    assert!(
        (200..300).contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text()
    );
    assert_recovers(&stack);
}
