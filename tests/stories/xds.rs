//! Envoys that take clusters, routes, filter and limits from the control plane.

use e2e::bootstrap::Xds;
use e2e::client::{Connection, Request};
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack, upstream};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn plan(xds: Xds, settings: Value) -> Plan {
    Plan {
        xds: Some(xds),
        settings,
        ..Plan::default()
    }
}

/// Held back until its gate opens, so that requests in flight can be counted.
fn held() -> (Origin, Gate) {
    let gate = Gate::default();
    let behind = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok("content").header("cache-control", "no-store");
        if request.path.starts_with("/held") {
            reply.behind(&behind)
        } else {
            reply
        }
    })
    .unwrap();
    (origin, gate)
}

/// Requests that are under way at the same time; joined, they all had a 200.
fn under_way(stack: &Stack, count: usize) -> Vec<std::thread::JoinHandle<u16>> {
    let address = stack.envoy.address();
    let ask = move |number: usize| {
        let mut connection = Connection::open(address).unwrap();
        connection
            .exchange(&Request::get(&format!("/held/{number}")))
            .unwrap()
            .status
    };
    (0..count)
        .map(|number| std::thread::spawn(move || ask(number)))
        .collect()
}

fn all_ok(threads: Vec<std::thread::JoinHandle<u16>>) {
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 200);
    }
}

/// The limit of connections changes while they are in use, without a cluster being built anew; those in use stay.
fn max_connections_changes_live(xds: Xds) {
    let (origin, gate) = held();
    // One worker: Envoy lets each have one connection above any limit.
    let plan = Plan {
        workers: 1,
        ..plan(xds, json!({"max_connections": 2, "concurrency": {"enabled": false}}))
    };
    let stack = Stack::start(&plan, origin).unwrap();
    stack.wait_xds().unwrap();
    let built = stack.envoy.stat("cluster_manager.cluster_modified");

    let first = under_way(&stack, 6);
    let pending = || stack.envoy.stat("cluster.origin.upstream_rq_pending_active");
    wait::until("two connections in use and four requests waiting", || {
        (pending() == 4).then_some(())
    })
    .unwrap();
    assert_eq!(stack.origin.connections(), 2);

    stack.change_settings(&json!({"max_connections": 5})).unwrap();
    stack.wait_xds().unwrap();
    // The limit is looked at when a request comes.
    let more = under_way(&stack, 2);
    wait::until("five connections", || (stack.origin.connections() == 5).then_some(())).unwrap();
    assert_eq!(stack.envoy.stat("cluster.origin.upstream_cx_destroy"), 0);
    gate.open();
    all_ok(first);
    all_ok(more);

    assert_eq!(stack.origin.connections(), 5);
    assert_eq!(
        stack.envoy.stat("cluster_manager.cluster_modified"),
        built,
        "no cluster was touched"
    );
    assert_eq!(stack.envoy.stat("cluster.origin.upstream_cx_destroy"), 0);
}

#[test]
fn max_connections_changes_without_closing_a_connection() {
    max_connections_changes_live(Xds::StateOfTheWorld);
}

#[test]
fn max_connections_changes_by_delta_too() {
    max_connections_changes_live(Xds::Delta);
}

#[test]
fn the_filter_caches_and_routes_lead_to_their_upstreams_before_and_after_a_change() {
    let other = Origin::start(|_| Reply::ok("second").max_age(600)).unwrap();
    let plan = plan(Xds::Delta, json!({}));
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("first").max_age(600)).unwrap()).unwrap();
    stack.wait_xds().unwrap();
    assert_eq!(stack.envoy.get("/cached").unwrap().text(), "first");
    assert!(stack.envoy.get("/cached").unwrap().is_hit());

    let stop = Arc::new(Mutex::new(false));
    let load = {
        let (stop, address) = (Arc::clone(&stop), stack.envoy.address());
        std::thread::spawn(move || {
            let mut connection = Connection::open(address).unwrap();
            let mut statuses = Vec::new();
            while !*stop.lock().unwrap() {
                let request = Request::get(&format!("/moved/{}", statuses.len()));
                statuses.push(connection.exchange(&request).unwrap().status);
            }
            statuses
        })
    };
    // The upstream of all requests is replaced by another one in a single change.
    let address = format!("localhost:{}", other.address().port());
    stack
        .change_settings(&json!({
            "upstreams": [upstream("second", &address)],
            "routes": [{"name": "all", "upstream": "second"}],
        }))
        .unwrap();
    stack.wait_xds().unwrap();
    assert_eq!(stack.envoy.get("/fresh").unwrap().text(), "second");
    *stop.lock().unwrap() = true;
    let statuses = load.join().unwrap();
    assert!(
        !statuses.is_empty() && statuses.iter().all(|status| *status == 200),
        "{statuses:?}"
    );
    let clusters = stack.envoy.config_dump("dynamic_active_clusters").unwrap().to_string();
    assert!(
        clusters.contains("\"second\"") && !clusters.contains("\"origin\""),
        "{clusters}"
    );
}

#[test]
fn what_can_be_known_at_the_door_is_refused_there() {
    let plan = plan(Xds::StateOfTheWorld, json!({}));
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content")).unwrap()).unwrap();
    stack.wait_xds().unwrap();
    let before = stack.rest().document("/settings").unwrap();

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
    ] {
        let answer = stack
            .rest()
            .merge_patch("/settings", &json!({ "upstreams": upstreams }))
            .unwrap();
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json().unwrap()["violations"][0]["path"], path);
    }
    assert_eq!(stack.rest().document("/settings").unwrap(), before);
}
