//! A breaker that opened closes without a client's request where an active health check finds the upstream well.

use e2e::bootstrap::Part;
use e2e::client::Response;
use e2e::origin::{Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HEALTH: &str = "/healthz?deep";

fn settings(upstream: &str) -> Value {
    json!({"breaker": {"window": "2s", "minimum_calls": 5, "open_wait": "300ms", "open_wait_max": "1s", "probes": 2,
        "active_health_checks": [{"upstream": upstream, "path": HEALTH, "interval": "1s",
            "expected_statuses": [{"start": 200, "end": 205}]}]}})
}

fn well(request: &Received) -> Reply {
    if request.path == HEALTH {
        Reply::new(204)
    } else {
        Reply::ok("well").header("cache-control", "no-store")
    }
}

fn is_refusal(answer: &Response) -> bool {
    answer.status == 503
        && answer
            .header("proxy-status")
            .is_some_and(|status| status.contains("circuit breaker"))
}

fn breaker(stack: &Stack, name: &str) -> Value {
    stack.rest().document("/circuit-breaker/status").unwrap()["upstreams"][name][0].clone()
}

fn seen(stack: &Stack, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, || Some(breaker(stack, name)).filter(|seen| is(seen)))
        .unwrap_or_else(|_| panic!("{what}: {}", breaker(stack, name)))
}

/// Requests of clients, which are all but the checks.
fn of_clients(origin: &Origin) -> usize {
    origin.total() - origin.count(HEALTH)
}

#[test]
fn a_quiet_upstream_that_is_well_again_has_its_breaker_closed_without_a_request() {
    let stack = Stack::start(&Plan::default(), Origin::start(well).unwrap()).unwrap();
    stack.change_settings(&settings("*")).unwrap();
    stack.origin.script(|_| Reply::new(500));
    wait::until("a refusal", || Some(stack.envoy.get("/x").unwrap()).filter(is_refusal)).unwrap();
    let asked = of_clients(&stack.origin);
    // It fails on: checks find that out, one after the other, and open it again.
    let failing = seen(&stack, "origin", "a check that failed", |seen| {
        seen["cause"] == "probe_failed" && seen["active_health_check"]["healthy"] == false
    });
    assert_eq!(failing["active_health_check"]["status"], 500, "{failing}");
    assert_eq!(failing["active_health_check"]["interval_ms"], 1_000, "{failing}");
    assert_ne!(failing["state"], "closed", "{failing}");

    stack.origin.script(well);
    let closed = seen(&stack, "origin", "closed", |seen| seen["state"] == "closed");
    assert_eq!(
        (&closed["cause"], &closed["active_health_check"]["healthy"]),
        (&json!("recovered"), &json!(true)),
        "{closed}"
    );
    assert_eq!(of_clients(&stack.origin), asked, "no request of a client");
    let checks: Vec<Received> = stack.origin.received();
    let check = checks.iter().rfind(|request| request.path == HEALTH).unwrap();
    assert_eq!((check.method.as_str(), check.header("host")), ("GET", Some("origin")));
    // Closed, it is left alone: a request comes through, and no check beside it.
    let counted = stack.origin.count(HEALTH);
    wait::until("some seconds of reports", || {
        let now = stack.rest().document("/circuit-breaker/status").unwrap()["as_of"].as_u64()?;
        (now > closed["since"].as_u64()? + 4_000).then_some(())
    })
    .unwrap();
    assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    assert_eq!(stack.origin.count(HEALTH), counted);
}

#[test]
fn where_envoys_own_health_checks_have_left_no_host_the_breaker_closes_when_they_find_one() {
    let origin = Origin::start(well).unwrap();
    let cluster = format!(
        r#"- name: checked
  type: STATIC
  connect_timeout: 1s
  common_lb_config: {{ healthy_panic_threshold: {{ value: 0 }} }}
  health_checks:
    - timeout: 1s
      interval: 0.2s
      no_traffic_interval: 0.2s
      unhealthy_threshold: 1
      healthy_threshold: 1
      http_health_check: {{ path: "/own" }}
  load_assignment:
    cluster_name: checked
    endpoints:
      - lb_endpoints:
          - endpoint:
              address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}"#,
        origin.address().port()
    );
    let routes = "- name: checked\n  match: { prefix: \"/\" }\n  route: { cluster: checked }";
    let plan = Plan {
        parts: BTreeMap::from([(Part::Clusters, cluster), (Part::Routes, routes.to_owned())]),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    stack.change_settings(&settings("checked")).unwrap();
    wait::until("an answer", || {
        (stack.envoy.get("/x").unwrap().status == 200).then_some(())
    })
    .unwrap();
    // For clients the origin is well, but Envoy's health checks say that it is not: 503 without a host, which opens the breaker.
    stack.origin.script(|request| {
        if request.path == "/own" {
            Reply::new(500)
        } else {
            well(request)
        }
    });
    wait::until("a refusal", || Some(stack.envoy.get("/x").unwrap()).filter(is_refusal)).unwrap();
    let asked = stack.origin.count("/x");
    // The breaker's check finds no host either: nobody was asked, and it asks again.
    let failing = seen(&stack, "checked", "a check without a host", |seen| {
        seen["active_health_check"]["healthy"] == false
    });
    assert!(failing["active_health_check"]["status"].is_null(), "{failing}");
    assert_eq!(failing["state"], "half_open", "{failing}");
    assert_eq!(failing["opened_on"]["connect_failures_in_a_row"], 5, "{failing}");
    assert_eq!(stack.origin.count(HEALTH), 0, "no host was asked");

    stack.origin.script(well);
    seen(&stack, "checked", "closed", |seen| seen["state"] == "closed");
    assert_eq!(stack.origin.count("/x"), asked, "no request of a client");
}
