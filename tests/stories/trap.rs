//! A filter that traps heals by itself, and the cache is still warm. Wasm's own: of the native one `native.rs` tells.

use e2e::artefacts::Shell;
use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;

#[test]
fn a_trap_ends_one_worker_s_vm_and_the_next_one_finds_the_cache_warm() {
    let origin = Origin::start(|_| Reply::ok("warm").max_age(600)).unwrap();
    let stack = Stack::start(
        &Plan {
            trap: true,
            shell: Some(Shell::Wasm),
            workers: 1,
            ..Plan::default()
        },
        origin,
    )
    .unwrap();
    stack.envoy.get("/stored").unwrap();
    assert!(stack.envoy.get("/stored").unwrap().is_hit());

    wait::until("Envoy's own statistics", || {
        let system = stack.rest().document("/metrics/system").ok()?;
        (system["envoys"].as_array()?.len() == 1).then_some(())
    })
    .unwrap();
    let trapped = stack
        .envoy
        .fetch(&Request::get("/stored").header("x-optimizer-trap", "1"));
    assert!(trapped.map_or(true, |answer| answer.status == 503));

    let healed = wait::until("the worker healed", || {
        let answer = Connection::open(stack.envoy.address())
            .ok()?
            .exchange(&Request::get("/stored"))
            .ok()?;
        (answer.status == 200).then_some(answer)
    })
    .unwrap();
    assert!(healed.is_hit(), "{}", healed.cache_status());
    assert_eq!(stack.origin.total(), 1);
    // The new VM is a full member again: it is in the control link or follows its leader.
    let change = json!({"cache_size": 500, "alerts": {"states": {"filter_reloads": {"for": "0s"}}}});
    stack.change_settings(&change).unwrap();
    wait::until("the alert", || {
        let active = stack.rest().document("/alerts/active").ok()?;
        let found = active
            .as_array()?
            .iter()
            .find(|alert| alert["name"] == "filter_reloads");
        found.map(|_| ())
    })
    .unwrap_or_else(|failure| panic!("{failure}: {:?}", stack.envoy.stats("vm_reload")));
}

#[test]
fn the_shipped_filter_has_no_trigger() {
    let stack = Stack::start(
        &Plan {
            control_plane: false,
            ..Plan::default()
        },
        Origin::start(|_| Reply::ok("x")).unwrap(),
    );
    let answer = stack
        .unwrap()
        .envoy
        .fetch(&Request::get("/").header("x-optimizer-trap", "1"))
        .unwrap();
    assert_eq!(answer.status, 200);
}
