//! An operator's override stands above the breakers' judgement, on every worker, until it ends.

use e2e::client::{Request, Response};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

fn stack() -> Stack {
    let stack = Stack::start(&Plan::default(), Origin::start(|_| Reply::ok("well")).unwrap()).unwrap();
    assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    wait::until("the upstream known", || {
        let status = stack.rest().document("/circuit-breaker/status").unwrap();
        status["upstreams"]["origin"].is_array().then_some(())
    })
    .unwrap();
    stack
}

fn say(stack: &Stack, what: &str) -> Response {
    let request = Request::new("POST", &format!("/circuit-breaker/{what}")).header("x-author", "me");
    stack.rest().send(&request).unwrap()
}

fn shown(stack: &Stack) -> Value {
    stack.rest().document("/circuit-breaker/status").unwrap()["upstreams"]["origin"][0].clone()
}

fn wait_for_state(stack: &Stack, state: &str) -> Value {
    wait::until(&format!("the state {state}"), || {
        Some(shown(stack)).filter(|shown| shown["state"] == state)
    })
    .unwrap()
}

#[test]
fn a_forced_state_holds_on_every_worker_and_ends_by_itself_without_the_control_plane() {
    let mut stack = stack();
    let answer = say(&stack, "origin/force-open?expires_in=4s&reason=maintenance");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json().unwrap();
    assert_eq!((&answer["in_force_on"], &answer["not_on"]), (&json!(1), &json!([])));
    for connection in &mut stack.envoy.connection_per_worker().unwrap() {
        let refused = connection.exchange(&Request::get("/x")).unwrap();
        assert_eq!(refused.status, 503);
        assert!(
            refused
                .header("proxy-status")
                .unwrap()
                .contains("opened by an operator")
        );
    }
    let seen = wait_for_state(&stack, "forced_open");
    assert!(
        seen["forced_until"].as_u64().is_some() && seen["cause"] == "operator",
        "{seen}"
    );
    let audit = stack.rest().document("/circuit-breaker/audit").unwrap();
    let entry = &audit[0];
    assert_eq!(
        (&entry["who"], &entry["action"], &entry["upstream"], &entry["reason"]),
        (
            &json!("me"),
            &json!("force-open"),
            &json!("origin"),
            &json!("maintenance")
        )
    );

    stack.control().kill();
    wait::until("the word's end", || {
        (stack.envoy.get("/x").unwrap().status == 200).then_some(())
    })
    .unwrap();
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    stack.wait_connected().unwrap();
    wait::until("the end told", || {
        let events = stack.rest().document("/circuit-breaker/events").unwrap();
        let ended = |event: &Value| event["from"] == "forced_open" && event["cause"] == "word_expired";
        events.as_array()?.iter().any(ended).then_some(())
    })
    .unwrap();
    let audit = stack.rest().document("/circuit-breaker/audit").unwrap();
    assert_eq!(audit.as_array().unwrap().len(), 1, "kept over the restart");
}

#[test]
fn a_word_without_an_end_outlives_a_restart_of_the_control_plane_and_is_taken_back() {
    let mut stack = stack();
    assert_eq!(say(&stack, "origin/force-open").status, 200);
    stack.control().kill();
    assert_eq!(stack.envoy.get("/x").unwrap().status, 503);
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    stack.wait_connected().unwrap();
    let status = stack.rest().document("/circuit-breaker/status").unwrap();
    assert_eq!(status["steered"][0]["action"], "force-open", "{status}");
    wait_for_state(&stack, "forced_open");
    assert_eq!(say(&stack, "origin/reset").status, 200);
    assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    let status = stack.rest().document("/circuit-breaker/status").unwrap();
    assert_eq!(status["steered"], json!([]));
}

#[test]
fn a_dry_run_shows_what_it_would_refuse_and_refuses_nothing() {
    let stack = stack();
    stack
        .change_settings(&json!({"breaker": {"minimum_calls": 5, "open_wait": "60s"}}))
        .unwrap();
    assert_eq!(say(&stack, "origin/dry-run").status, 200);
    stack.origin.script(|_| Reply::new(500));
    for _ in 0..30 {
        assert_eq!(stack.envoy.get("/x").unwrap().status, 500);
    }
    let seen = wait::until("what it would have refused", || {
        Some(shown(&stack)).filter(|shown| shown["would_refuse_calls"].as_u64().is_some_and(|count| count > 0))
    })
    .unwrap();
    assert_eq!(
        (&seen["state"], &seen["judged"], &seen["refused_calls"]),
        (&json!("dry_run"), &json!("open"), &json!(0)),
        "{seen}"
    );
    let events = stack.rest().document("/circuit-breaker/events").unwrap();
    let told = events.as_array().unwrap().iter().find(|event| event["to"] == "open");
    assert_eq!(told.unwrap()["in_force"], false, "{events}");

    // Forced closed, a breaker that would open lets calls pass as well.
    assert_eq!(say(&stack, "origin/force-close").status, 200);
    assert_eq!(stack.envoy.get("/x").unwrap().status, 500);
    wait_for_state(&stack, "forced_closed");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let stack = stack();
    for (what, status, code) in [
        ("origin/force-open?expires_in=0s", 400, "bad_query"),
        ("origin/force-open?expires_in=25h", 400, "bad_query"),
        ("origin/force-open?expires_in=soon", 400, "bad_query"),
        ("origin/force-open?until=5m", 400, "bad_query"),
        ("origin/reset?expires_in=5m", 400, "bad_query"),
        ("orgin/force-open", 404, "unknown_upstream"),
        ("origin/explode", 404, "not_found"),
    ] {
        let answer = say(&stack, what);
        assert_eq!(
            (answer.status, answer.json().unwrap()["code"].clone()),
            (status, json!(code)),
            "{what}: {}",
            answer.text()
        );
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/problem+json")
        );
    }
    for (field, value) in [
        ("open_wait", json!("0s")),
        ("failure_rate_percent", json!(0)),
        ("failure_rate_percent", json!(101)),
        ("minimum_calls", json!(0)),
        ("probes", json!(0)),
        ("failure_statuses", json!([404])),
        ("failure_classes", json!(["client_gone"])),
        ("recovery_ramp", json!("11m")),
    ] {
        let change = json!({"breaker": {field: value}});
        let answer = stack.rest().merge_patch("/settings", &change).unwrap();
        assert_eq!(answer.status, 422, "{change}: {}", answer.text());
        let path = answer.json().unwrap()["violations"][0]["path"].clone();
        assert!(
            path.as_str().unwrap().starts_with(&format!("/breaker/{field}")),
            "{change}: {path}"
        );
    }
    assert_eq!(stack.rest().document("/circuit-breaker/audit").unwrap(), json!([]));
    stack.change_settings(&json!({"breaker": {"enabled": false}})).unwrap();
    assert_eq!(say(&stack, "origin/force-open").status, 409);
}

#[test]
fn a_word_is_in_force_on_every_envoy_of_the_fleet() {
    let stack = stack();
    let second = stack.envoy_beside("second").unwrap();
    assert_eq!(second.get("/x").unwrap().status, 200);
    for (word, status) in [("force-open", 503), ("force-close", 200), ("reset", 200)] {
        let said = std::time::Instant::now();
        let answer = say(&stack, &format!("origin/{word}")).json().unwrap();
        // The answer itself says so, and it is true at once.
        assert_eq!(
            (&answer["in_force_on"], &answer["not_on"]),
            (&json!(2), &json!([])),
            "{word}"
        );
        let answered = said.elapsed();
        assert_eq!(second.get("/x").unwrap().status, status, "{word}");
        for connection in &mut stack.envoy.connection_per_worker().unwrap() {
            assert_eq!(
                connection.exchange(&Request::get("/x")).unwrap().status,
                status,
                "{word}"
            );
        }
        println!("{word}: in force on two Envoys after {} ms", answered.as_millis());
    }
}
