//! A filter that traps heals by itself, and the cache is still warm.

use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;

#[test]
fn a_trap_ends_one_worker_s_vm_and_the_next_one_finds_the_cache_warm() {
    let origin = Origin::start(|_| Reply::ok("warm").max_age(600)).unwrap();
    let stack = Stack::start(
        &Plan {
            trap: true,
            workers: 1,
            ..Plan::default()
        },
        origin,
    )
    .unwrap();
    stack.envoy.get("/stored").unwrap();
    assert!(stack.envoy.get("/stored").unwrap().is_hit());

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
    stack.change_settings(&serde_json::json!({"cache_size": 500})).unwrap();
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
