//! What goes wrong: bad settings, bad upstreams, a control plane that dies.

use super::{Load, plan, started};
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::upstream;
use e2e::wait;
use serde_json::{Value, json};

fn origin() -> Origin {
    Origin::start(|_| Reply::ok("content").header("cache-control", "no-store")).unwrap()
}

/// A certificate by its outer form: a DER sequence, of nothing.
const HOLLOW: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

#[test]
fn what_can_be_known_at_the_door_is_refused_there() {
    let stack = started(&plan(Xds::StateOfTheWorld, json!({})), origin());
    let before = stack.rest().document("/settings").unwrap();
    let with_ca = |pem: &str| {
        let mut upstream = upstream("origin", "127.0.0.1:80");
        upstream["tls"] = json!(true);
        upstream["trusted_ca"] = json!(pem);
        json!([upstream])
    };
    for (upstreams, path) in [
        (
            json!([upstream("origin", "127.0.0.1:65536")]),
            "/upstreams/0/endpoints/0/address",
        ),
        (
            json!([upstream("origin", "not a host:80")]),
            "/upstreams/0/endpoints/0/address",
        ),
        (json!([{"name": "origin", "endpoints": []}]), "/upstreams/0/endpoints"),
        (with_ca("/etc/ssl/ca.crt"), "/upstreams/0/trusted_ca"),
        (with_ca(&HOLLOW.replace("MAA=", "AAAA")), "/upstreams/0/trusted_ca"),
    ] {
        let answer = stack
            .rest()
            .merge_patch("/settings", &json!({ "upstreams": upstreams }))
            .unwrap();
        assert_eq!(answer.status, 422, "{path}");
        assert_eq!(answer.json().unwrap()["violations"][0]["path"], path);
    }
    assert_eq!(stack.rest().document("/settings").unwrap(), before);
}

fn refusals(rollout: &Value) -> Option<&Vec<Value>> {
    rollout["xds"]["envoys"][0]["refused"].as_array()
}

/// A refusal (NACK) is shown with Envoy's reason; the last good cluster goes on serving; a good one after it is taken.
fn refused_by_envoy(xds: Xds) {
    let stack = started(&plan(xds, json!({})), origin());
    let address = stack.origin.address().to_string();
    let load = Load::start(&stack, 1);
    let mut hollow = upstream("origin", &address);
    hollow["tls"] = json!(true);
    hollow["trusted_ca"] = json!(HOLLOW);
    stack.change_settings(&json!({ "upstreams": [hollow] })).unwrap();
    let rollout = wait::until("the refusal", || {
        let rollout = stack.rest().document("/settings/rollout").ok()?;
        refusals(&rollout)
            .is_some_and(|refused| !refused.is_empty())
            .then_some(rollout)
    })
    .unwrap();
    let refused = &refusals(&rollout).unwrap()[0];
    assert_eq!(refused["kind"], "clusters", "{rollout}");
    assert!(refused["reason"].as_str().unwrap().contains("trusted CA"), "{rollout}");
    assert_eq!(rollout["xds"]["complete"], false);
    let health = stack.rest().document("/health").unwrap();
    assert_eq!(health["components"]["xds"]["status"], "degraded", "{health}");

    stack
        .change_settings(&json!({ "upstreams": [upstream("origin", &address)] }))
        .unwrap();
    stack.wait_xds().unwrap();
    load.end();
    let health = stack.rest().document("/health").unwrap();
    assert_eq!(health["components"]["xds"]["status"], "healthy", "{health}");
}

#[test]
fn what_envoy_refuses_is_shown_and_the_last_good_stays() {
    refused_by_envoy(Xds::StateOfTheWorld);
}

#[test]
fn so_it_is_by_delta() {
    refused_by_envoy(Xds::Delta);
}

#[test]
fn an_upstream_that_is_not_there_is_shown_and_harms_no_other() {
    let stack = started(&plan(Xds::Delta, json!({})), origin());
    let address = stack.origin.address().to_string();
    let load = Load::start(&stack, 1);
    let route = |name: &str| json!({"name": name, "path_prefix": format!("/{name}"), "upstream": name});
    stack
        .change_settings(&json!({
            "upstreams": [
                upstream("origin", &address),
                upstream("nowhere", "no-such-host.invalid:80"),
                {"name": "silent", "endpoints": [{"address": "127.0.0.1:1"}], "health_check_path": "/health"},
            ],
            "routes": [route("nowhere"), route("silent")],
        }))
        .unwrap();
    stack.wait_xds().unwrap();
    for name in ["nowhere", "silent"] {
        assert_eq!(stack.envoy.get(&format!("/{name}")).unwrap().status, 503, "{name}");
    }
    let shown = |name: &str, endpoints: u32| {
        wait::until("its endpoints in the rollout", || {
            let rollout = stack.rest().document("/settings/rollout").ok()?;
            let upstreams = rollout["xds"]["envoys"][0]["upstreams"].as_array()?.clone();
            let wanted = json!({"upstream": name, "endpoints": endpoints, "healthy": 0});
            upstreams.contains(&wanted).then_some(())
        })
        .unwrap();
    };
    shown("nowhere", 0);
    shown("silent", 1);
    let health = stack.rest().document("/health").unwrap();
    let reason = health["components"]["xds"]["reason"].as_str().unwrap();
    assert!(reason.contains("nowhere") && reason.contains("silent"), "{health}");
    load.end();
}

#[test]
fn a_control_plane_killed_in_the_middle_of_a_push_fails_no_request() {
    let mut stack = started(&plan(Xds::Delta, json!({})), origin());
    let load = Load::start(&stack, 2);
    for number in 0..5_u32 {
        let rest = stack.rest();
        let push = std::thread::spawn(move || {
            let change =
                json!({"max_connections": 100 + number, "http2": {"idle_timeout": format!("{}s", 10 + number)}});
            // Killed, it may or may not answer.
            drop(rest.send(&Request::new("PATCH", "/settings").body(change.to_string())));
        });
        std::thread::sleep(std::time::Duration::from_millis(u64::from(number) * 5));
        stack.control().kill();
        push.join().unwrap();
        stack.control().restart().unwrap();
        stack.control().wait_live().unwrap();
    }
    stack.wait_connected().unwrap();
    stack.wait_xds().unwrap();
    let wanted = stack.rest().document("/settings").unwrap()["max_connections"].to_string();
    let runs = stack
        .envoy
        .runtime("circuit_breakers.origin.default.max_connections")
        .unwrap();
    assert_eq!(runs, wanted);
    load.end();
}
