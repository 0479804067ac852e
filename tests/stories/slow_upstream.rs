//! An upstream that answers, but slowly: the breaker trips on slow calls, an adaptive limit gives way, and hot keys are refreshed
//! before anybody has to wait.

use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn status(stack: &Stack) -> Value {
    stack.rest().document("/circuit-breaker/status").unwrap()
}

#[test]
fn calls_that_take_too_long_open_the_breaker_though_they_succeed() {
    let origin = Origin::start(|_| Reply::ok("late").after(Duration::from_millis(300))).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let slow = json!({"breaker": {
        "minimum_calls": 5, "slow_call_duration": "200ms", "slow_call_rate_percent": 80,
        "open_wait": "500ms", "open_wait_max": "1s", "probes": 1,
    }});
    stack.change_settings(&slow).unwrap();
    let answers = std::cell::Cell::new(0);
    let refused = wait::until("a refusal", || {
        let answer = stack.envoy.get("/x").unwrap();
        answers.set(answers.get() + u32::from(answer.status == 200));
        (answer.status == 503).then_some(answer)
    })
    .unwrap();
    assert_eq!(refused.json().unwrap()["code"], "circuit_breaker_open");
    assert!(
        answers.get() >= 5,
        "not on fewer calls than the minimum: {}",
        answers.get()
    );
    let seen = wait::until("the cause told", || {
        let events = stack.rest().document("/circuit-breaker/events").unwrap();
        events.as_array()?.iter().find(|event| event["to"] == "open").cloned()
    })
    .unwrap();
    assert_eq!(seen["cause"], "slow_call_rate", "{seen}");
    let shown = wait::until("what it opened on", || {
        let shown = status(&stack)["upstreams"]["origin"][0].clone();
        (shown["opened_on"]["slow_calls"].as_u64()? >= 4).then_some(shown)
    })
    .unwrap();
    assert_eq!(shown["opened_on"]["failures"], 0, "{shown}");

    stack.origin.script(|_| Reply::ok("quick"));
    wait::until("the breaker closed", || {
        let _ = stack.envoy.get("/x").unwrap();
        (status(&stack)["state"] == "closed").then_some(())
    })
    .unwrap();
    assert_eq!(stack.envoy.get("/x").unwrap().text(), "quick");
}

/// An origin that takes `delay_ms`, and how many calls it had at a time.
fn measured(delay_ms: &Arc<AtomicU64>, most: &Arc<AtomicUsize>) -> Origin {
    let under_way = AtomicUsize::new(0);
    let (delay_ms, most) = (Arc::clone(delay_ms), Arc::clone(most));
    Origin::start(move |_| {
        most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(delay_ms.load(Ordering::SeqCst)));
        under_way.fetch_sub(1, Ordering::SeqCst);
        Reply::ok("well")
    })
    .unwrap()
}

#[test]
fn an_adaptive_limit_shrinks_while_answers_take_longer_and_grows_again() {
    const CLIENTS: usize = 40;
    let (delay_ms, most) = (Arc::new(AtomicU64::new(20)), Arc::default());
    let plan = Plan {
        workers: 1,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, measured(&delay_ms, &most)).unwrap();
    let adaptive = json!({"max_connections": 64, "concurrency": {"adaptive": true, "minimum": 4, "queue": 0}});
    stack.change_settings(&adaptive).unwrap();
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = stack.envoy.address();
    let limit = || status(&stack)["concurrency"]["origin"][0]["limit"].as_u64();
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(address).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let answer = connection
                        .exchange(&Request::get("/x").header("cache-control", "no-store"))
                        .unwrap();
                    if answer.status == 503 {
                        assert_eq!(answer.json().unwrap()["code"], "concurrency_limit");
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        wait::until("as many calls as there are clients", || {
            (most.load(Ordering::SeqCst) >= CLIENTS * 3 / 4).then_some(())
        })
        .unwrap();
        delay_ms.store(400, Ordering::SeqCst);
        wait::until("a limit well below the calls there were", || {
            (limit()? <= 16).then_some(())
        })
        .unwrap();
        // Those that began under the old limit end first.
        wait::until("fewer calls at a time", || {
            most.store(0, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(800));
            (1..=20).contains(&most.load(Ordering::SeqCst)).then_some(())
        })
        .unwrap();
        assert!(limit().is_some_and(|limit| limit >= 4), "not below the minimum");
        assert!(refused.load(Ordering::SeqCst) > 0);
        delay_ms.store(20, Ordering::SeqCst);
        wait::until("the limit grown again", || (limit()? >= 32).then_some(())).unwrap();
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_hot_response_is_refreshed_before_it_expires_and_nobody_waits() {
    const LIFETIME: Duration = Duration::from_secs(3);
    let origin = Origin::start(|_| {
        Reply::ok("hot")
            .max_age(LIFETIME.as_secs())
            .after(Duration::from_millis(150))
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let mut workers = stack.envoy.connection_per_worker().unwrap();
    stack.envoy.get("/hot").unwrap();
    let mut waited = 0;
    let mut fetched = (Instant::now(), stack.origin.count("/hot"));
    // A machine that stands still for a second may let one lifetime pass; not all of them.
    let early = wait::until("a refresh ahead of time", || {
        for connection in &mut workers {
            let answer = connection.exchange(&Request::get("/hot")).unwrap();
            waited += usize::from(!answer.is_hit() || answer.cache_status().contains("ttl=-"));
        }
        let count = stack.origin.count("/hot");
        if count == fetched.1 {
            return None;
        }
        let (began, before) = std::mem::replace(&mut fetched, (Instant::now(), count));
        let nobody = std::mem::take(&mut waited) == 0;
        (nobody && count == before + 1).then(|| began.elapsed())
    })
    .unwrap();
    assert!(early < LIFETIME + Duration::from_millis(500), "{early:?}");
    println!(
        "refreshed after {} ms of {} ms",
        early.as_millis(),
        LIFETIME.as_millis()
    );
    // What was fetched meanwhile is in force without anybody asking for it.
    wait::until("the refreshed one served", || {
        let answer = workers[0].exchange(&Request::get("/hot")).unwrap();
        (answer.is_hit() && answer.number("age")? <= 1).then_some(())
    })
    .unwrap();
}
