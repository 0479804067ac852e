//! Settings change on a running Envoy, or not at all.

use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

/// Fresh by the origin's word under `/told`, silent elsewhere.
fn origin() -> Origin {
    Origin::start(|request| {
        let reply = Reply::ok("content");
        if request.path == "/told" {
            reply.max_age(600)
        } else {
            reply
        }
    })
    .unwrap()
}

#[test]
fn a_ttl_change_through_rest_is_in_force_in_every_worker_and_the_cache_stays_warm() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let mut workers = stack.envoy.connection_per_worker().unwrap();
    stack.envoy.get("/told").unwrap();
    for connection in &mut workers {
        let answer = connection.exchange(&e2e::client::Request::get("/silent")).unwrap();
        assert!(
            !answer.is_hit() && !answer.cache_status().contains("stored"),
            "{}",
            answer.cache_status()
        );
    }

    let written = stack
        .rest()
        .merge_patch("/settings", &json!({"default_ttl": "60s"}))
        .unwrap();
    assert_eq!(written.status, 200, "{}", written.text());
    wait::until("a response without explicit freshness reused", || {
        stack.envoy.get("/silent").unwrap().is_hit().then_some(())
    })
    .unwrap();
    for connection in &mut workers {
        assert!(
            connection
                .exchange(&e2e::client::Request::get("/silent"))
                .unwrap()
                .is_hit()
        );
        assert!(
            connection
                .exchange(&e2e::client::Request::get("/told"))
                .unwrap()
                .is_hit()
        );
    }
    assert_eq!(stack.origin.count("/told"), 1);
    let rollout = stack.rest().document("/settings/rollout").unwrap();
    assert_eq!(rollout["complete"], true, "{rollout}");
}

#[test]
fn a_bad_document_is_refused_with_every_violation_and_changes_nothing() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let before = stack.rest().document("/settings").unwrap();
    let bad = json!({"cache_size": 0, "default_ttl": "15 parsecs", "colour": "red", "breaker": {"failure_rate_percent": 101}});
    let answer = stack.rest().merge_patch("/settings", &bad).unwrap();
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/problem+json")
    );
    let problem = answer.json().unwrap();
    let mut paths: Vec<&str> = problem["violations"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|found| found["path"].as_str())
        .collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "/breaker/failure_rate_percent",
            "/cache_size",
            "/colour",
            "/default_ttl"
        ],
        "{problem}"
    );

    for body in ["{", "[1]", "null", "{\"cache_size\":1e9999}"] {
        let request =
            e2e::client::Request::new("PATCH", "/settings").header("content-type", "application/merge-patch+json");
        let status = stack.rest().send(&request.body(body)).unwrap().status;
        assert_eq!(status, 422, "{body}");
    }
    assert_eq!(stack.rest().document("/settings").unwrap(), before);
}

#[test]
fn what_the_operator_reads_is_what_happened() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    for _ in 0..10 {
        assert_eq!(stack.envoy.get("/told").unwrap().status, 200);
    }
    let figures = wait::until("ten requests in the figures", || {
        let figures = stack.rest().document("/metrics/performance").ok()?;
        (figures["sample_count"] == 10).then_some(figures)
    })
    .unwrap();
    assert_eq!(figures["cache_hit_ratio"], 90, "{figures}");
    assert_eq!(figures["error_rate"], 0, "{figures}");
    let cache = wait::until("the stored response in the figures", || {
        let cache = stack.rest().document("/cache/stats").ok()?;
        (cache["size"] == 1).then_some(cache)
    })
    .unwrap();
    assert!(
        cache["memory_usage"].as_f64().is_some_and(|megabytes| megabytes > 0.0),
        "{cache}"
    );
    assert!(
        cache.as_object().unwrap().values().all(|value| *value != Value::Null),
        "{cache}"
    );
}
