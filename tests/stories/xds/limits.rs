//! `max_connections` on a running Envoy.

use super::{all_ok, held, plan, started, under_way};
use e2e::bootstrap::Xds;
use e2e::origin::Gate;
use e2e::stack::Plan;
use e2e::wait;
use serde_json::json;

/// The limit changes while connections are in use, without a cluster being built anew; those in use stay.
fn changes_live(xds: Xds) {
    let gate = Gate::default();
    // One worker: Envoy lets each have one connection above any limit.
    let plan = Plan {
        workers: 1,
        ..plan(xds, json!({"max_connections": 2, "concurrency": {"enabled": false}}))
    };
    let stack = started(&plan, held(&gate));
    let built = stack.envoy.stat("cluster_manager.cluster_modified");

    let first = under_way(&stack, 6);
    let pending = || stack.envoy.stat("cluster.origin.upstream_rq_pending_active");
    // Both: four can be waiting while the second connection is still being made for one more.
    wait::until("two connections in use and four requests waiting", || {
        (pending() == 4 && stack.origin.connections() == 2).then_some(())
    })
    .unwrap();

    stack.change_settings(&json!({"max_connections": 5})).unwrap();
    stack.wait_xds().unwrap();
    assert_eq!(
        stack
            .envoy
            .runtime("circuit_breakers.origin.default.max_connections")
            .unwrap(),
        "5"
    );
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
    changes_live(Xds::StateOfTheWorld);
}

#[test]
fn max_connections_changes_by_delta_too() {
    changes_live(Xds::Delta);
}
