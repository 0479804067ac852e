//! An origin that dies trips the breaker, which keeps requests from it; one that returns is found again.

use e2e::client::{Connection, Request, Response};
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

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
    answer.status == 503
        && answer
            .header("proxy-status")
            .is_some_and(|status| status.contains("circuit breaker"))
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
    // Long enough to look at it: without a call it is half-open when the wait is over.
    stack
        .change_settings(&json!({"breaker": {"open_wait": "8s", "open_wait_max": "8s"}}))
        .unwrap();
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
    let seen = wait::until("the refusals told", || {
        let seen = wait_for_state(&stack, "open");
        let refused = seen["upstreams"]["origin"][0]["refused_calls"].as_u64();
        refused.is_some_and(|count| count > 0).then_some(seen)
    })
    .unwrap();
    assert!(seen["failure_count"].as_u64().is_some_and(|count| count > 0), "{seen}");
    let shown = &seen["upstreams"]["origin"][0];
    assert!(shown["next_probe"].as_u64().is_some_and(|at| at > 0), "{seen}");
    assert!(
        ["failure_rate", "connect_failures", "probe_failed"]
            .iter()
            .any(|cause| shown["cause"] == *cause),
        "{seen}"
    );
    assert!(
        shown["opened_on"]["failures"].as_u64().is_some_and(|count| count > 0),
        "{seen}"
    );
    assert_eq!(shown["thresholds"]["minimum_calls"], 5, "{seen}");
    let metrics = stack.rest().get("/metrics").unwrap().text();
    let in_state = |state: &str| {
        metrics.lines().any(|line| {
            line.starts_with("api_optimizer_breaker_state{")
                && line.contains(&format!("state=\"{state}\""))
                && line.ends_with(" 1")
        })
    };
    assert!(in_state("open") && !in_state("closed"), "{metrics}");
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
    let reset = Request::new("POST", "/circuit-breaker/origin/reset");
    let answer = stack.rest().send(&reset).unwrap();
    assert!(
        (200..300).contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text()
    );
    assert_recovers(&stack);
}

#[test]
fn a_route_with_a_breaker_of_its_own_is_shut_alone() {
    let origin = Origin::start(|request| {
        if request.path.starts_with("/prices") {
            Reply::new(500)
        } else {
            Reply::ok("well")
        }
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    stack
        .change_settings(&json!({
            "breaker": {"minimum_calls": 5, "open_wait": "10m", "open_wait_max": "10m"},
            "routes": [{"name": "prices", "path_prefix": "/prices", "breaker": true}],
        }))
        .unwrap();
    for _ in 0..20 {
        assert_eq!(stack.envoy.get("/other").unwrap().status, 200);
    }
    wait::until("a refusal", || {
        Some(stack.envoy.get("/prices").unwrap()).filter(is_refusal)
    })
    .unwrap();
    assert_eq!(stack.envoy.get("/other").unwrap().status, 200);
    let seen = wait_for_state(&stack, "open");
    assert_eq!(seen["upstreams"]["origin/prices"][0]["state"], "open", "{seen}");
    assert_eq!(seen["upstreams"]["origin"][0]["state"], "closed", "{seen}");
    let reset = Request::new("POST", "/circuit-breaker/origin%2Fprices/reset");
    assert_eq!(stack.rest().send(&reset).unwrap().status, 200);
    assert_eq!(stack.envoy.get("/prices").unwrap().status, 500);
}

#[test]
fn clients_that_leave_never_open_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        if request.path == "/slow" {
            Reply::ok("late").behind(&held)
        } else {
            Reply::ok("well")
        }
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let eager = json!({"breaker": {"minimum_calls": 5, "failure_rate_percent": 1, "consecutive_connect_failures": 1}});
    stack.change_settings(&eager).unwrap();
    let before = stack.origin.count("/slow");
    let mut connections: Vec<Connection> = (0..20)
        .map(|_| Connection::open(stack.envoy.address()).unwrap())
        .collect();
    for connection in &mut connections {
        connection
            .send(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    }
    wait::until("all of them at the origin", || {
        (stack.origin.count("/slow") >= before + 20).then_some(())
    })
    .unwrap();
    drop(connections);
    for _ in 0..10 {
        assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    }
    let seen = wait::until("the calls counted", || {
        let seen = status(&stack);
        (seen["upstreams"]["origin"][0]["calls"].as_u64()? >= 10).then_some(seen)
    })
    .unwrap();
    assert_eq!(
        (&seen["state"], &seen["failure_count"]),
        (&json!("closed"), &json!(0)),
        "{seen}"
    );
    gate.open();
}

#[test]
fn max_connections_is_what_the_origin_gets_at_a_time() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&under_way), Arc::clone(&most));
    let origin = Origin::start(move |_| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        now.fetch_sub(1, Ordering::SeqCst);
        Reply::ok("well")
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let statuses = |count: usize| -> Vec<Response> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..count)
                .map(|at| {
                    let envoy = &stack.envoy;
                    scope.spawn(move || envoy.get(&format!("/{at}")).unwrap())
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    };
    let queue = json!({"max_connections": 3, "concurrency": {"queue": 100, "queue_timeout": "20s"}});
    stack.change_settings(&queue).unwrap();
    assert!(
        statuses(24).iter().all(|answer| answer.status == 200),
        "all wait their turn"
    );
    assert!((2..=3).contains(&most.load(Ordering::SeqCst)), "{most:?} at a time");

    // Whoever waits gets a place as soon as there is one, whichever worker had it: long before the wait is over.
    let one = json!({"max_connections": 1, "concurrency": {"queue": 100, "queue_timeout": "2s"}});
    stack.change_settings(&one).unwrap();
    for _ in 0..5 {
        let waited: Vec<u16> = statuses(8).into_iter().map(|answer| answer.status).collect();
        assert_eq!(waited, [200; 8]);
    }

    stack
        .change_settings(&json!({"max_connections": 3, "concurrency": {"queue": 0}}))
        .unwrap();
    let refused: Vec<Response> = statuses(24).into_iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty());
    for answer in &refused {
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        let proxy_status = answer.header("proxy-status").unwrap_or_default();
        assert!(proxy_status.contains("error=connection_limit_reached"), "{answer:?}");
        assert_eq!(answer.json().unwrap()["code"], "concurrency_limit");
    }
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?} at a time");
}

#[test]
fn a_lowered_limit_holds_under_load_that_never_pauses() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&under_way), Arc::clone(&most));
    let origin = Origin::start(move |_| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        Reply::ok("well").header("cache-control", "no-store")
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let limit = |most: u32| json!({"max_connections": most, "concurrency": {"queue": 100, "queue_timeout": "20s"}});
    stack.change_settings(&limit(1_000)).unwrap();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (held, again) = std::thread::scope(|scope| {
        for client in 0..12 {
            let (envoy, over, answered) = (&stack.envoy, &over, &answered);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(envoy.get(&format!("/{client}")).unwrap().status, 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // The most at a time among the next calls.
        let most_of_next = || {
            let from = answered.load(Ordering::SeqCst);
            most.store(0, Ordering::SeqCst);
            let many = || (answered.load(Ordering::SeqCst) > from + 30).then_some(());
            wait::until("calls", many).map(|()| most.load(Ordering::SeqCst))
        };
        let sees = |what: &str, is: fn(usize) -> bool| wait::until(what, || most_of_next().is_ok_and(is).then_some(()));
        let busy = sees("many calls at a time", |most| most > 6);
        let lowered = stack.change_settings(&limit(2));
        let held = sees("few calls at a time", |most| most <= 2);
        let raised = stack.change_settings(&limit(1_000));
        let again = sees("many calls again", |most| most > 6);
        over.store(true, Ordering::SeqCst);
        (busy.and(lowered).and(held), raised.and(again))
    });
    held.and(again).unwrap();
}

#[test]
fn a_probe_lost_with_its_vm_is_taken_back() {
    let gate = Gate::default();
    let plan = Plan {
        trap: true,
        workers: 1,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::new(500)).unwrap()).unwrap();
    let one_probe =
        json!({"breaker": {"minimum_calls": 5, "open_wait": "500ms", "open_wait_max": "500ms", "probes": 1}});
    stack.change_settings(&one_probe).unwrap();
    wait::until("a refusal", || Some(stack.envoy.get("/x").unwrap()).filter(is_refusal)).unwrap();
    let held = gate.clone();
    stack.origin.script(move |request| match request.path.as_str() {
        "/probe" => Reply::ok("late").behind(&held),
        _ => Reply::ok("well"),
    });
    // The probe hangs at the origin when its VM dies.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stack.origin.count("/probe") == 0 {
                let _ = stack.envoy.get("/probe");
            }
        });
        wait::until("the probe at the origin", || {
            (stack.origin.count("/probe") > 0).then_some(())
        })
        .unwrap();
        let _ = stack.envoy.fetch(&Request::get("/x").header("x-optimizer-trap", "1"));
    });
    gate.open();
    // Long before a probe's minute is over, and though nobody asks.
    wait::until("the probe taken back", || {
        let shown = status(&stack)["upstreams"]["origin"][0].clone();
        (shown["state"] == "half_open" && shown["probes_in_flight"] == 0).then_some(())
    })
    .unwrap();
    wait::until("another probe through", || {
        let answer = stack.envoy.get("/x").ok()?;
        (answer.status == 200).then_some(())
    })
    .unwrap();
    assert_recovers(&stack);
}
