//! The control plane dies under traffic and comes back; nobody but the operator notices.

use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the clients of the story saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    requests: AtomicU64,
    hits: AtomicU64,
    failures: AtomicU64,
}

/// Asks without a pause: one stored page and one that is not.
fn client(stack: &Stack, seen: &Seen) {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    while !seen.stop.load(Ordering::SeqCst) {
        for path in ["/stored", "/passed"] {
            match connection.exchange(&Request::get(path)) {
                Ok(answer) if answer.status == 200 => {
                    seen.hits.fetch_add(u64::from(answer.is_hit()), Ordering::SeqCst);
                }
                _ => {
                    seen.failures.fetch_add(1, Ordering::SeqCst);
                    connection = Connection::open(stack.envoy.address()).unwrap();
                }
            }
            seen.requests.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn wait_for_more(seen: &Seen, counter: &AtomicU64) {
    let goal = counter.load(Ordering::SeqCst) + 200;
    wait::until("200 more of what was counted", || {
        (counter.load(Ordering::SeqCst) >= goal).then_some(())
    })
    .unwrap();
    assert_eq!(seen.failures.load(Ordering::SeqCst), 0);
}

#[test]
fn killed_under_traffic_no_request_fails_and_everything_returns() {
    let origin = Origin::start(|request| {
        if request.path == "/stored" {
            Reply::ok("x").max_age(600)
        } else {
            Reply::ok("x")
        }
    });
    let mut stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    stack.change_settings(&json!({"cache_size": 777})).unwrap();
    let seen = Seen::default();
    let mut control = stack.control.take().unwrap();
    let rest = control.rest();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| client(&stack, &seen));
        }
        // Ends the clients also when a check below fails.
        let _stop = StopOnDrop(&seen.stop);
        wait_for_more(&seen, &seen.hits);
        control.kill();
        wait_for_more(&seen, &seen.hits);
        wait_for_more(&seen, &seen.requests);
        control.restart().unwrap();
        control.wait_live().unwrap();
        wait::until("the stream and the settings back", || {
            let rollout = rest.document("/settings/rollout").ok()?;
            let back = rollout["envoys"].as_array().is_some_and(|envoys| envoys.len() == 1);
            (back && rollout["complete"] == true).then_some(())
        })
        .unwrap();
        assert_eq!(rest.document("/settings").unwrap()["cache_size"], 777);
        wait::until("the telemetry back", || {
            (rest.document("/metrics/performance").ok()?["sample_count"].as_u64()? > 0).then_some(())
        })
        .unwrap();
        wait_for_more(&seen, &seen.hits);
    });
    assert_eq!(seen.failures.load(Ordering::SeqCst), 0);
    assert_eq!(stack.origin.count("/stored"), 1);
    stack.control = Some(control);
    stack.change_settings(&json!({"cache_size": 778})).unwrap();
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
