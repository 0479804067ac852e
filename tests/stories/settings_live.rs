//! A thousand changes while traffic flows.

use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CHANGES: u64 = 1_000;
const SEED: u64 = 0x5eed_cafe;

/// A small generator, so that a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }
}

/// Any setting that cannot by itself make a request fail: no limit that four clients reach, no breaker that opens because the
/// machine is slow.
fn change(random: &mut Random) -> Value {
    match random.below(14) {
        0 => json!({"cache_size": random.below(50_000) + 1}),
        1 => json!({"cache_memory_mb": random.below(64) + 1}),
        2 => json!({"default_ttl": format!("{}s", random.below(600))}),
        3 => json!({"eviction_policy": random.one(&["lru", "lfu", "fifo", "gdsf"])}),
        4 => json!({"cache_enabled": random.below(4) != 0}),
        5 => json!({"max_object_size": format!("{}KiB", random.below(512) + 1)}),
        6 => json!({"max_connections": random.below(1_000) + 100}),
        7 => {
            json!({"freshness": {"stale_while_revalidate": format!("{}s", random.below(60)), "jitter_percent": random.below(10)}})
        }
        8 => json!({"freshness": {"stale_if_error": format!("{}s", random.below(60))}}),
        9 => {
            json!({"breaker": {"window": format!("{}s", random.below(50) + 10), "minimum_calls": random.below(90) + 10, "probes": random.below(9) + 1}})
        }
        10 => json!({"breaker": {"enabled": random.below(2) == 0, "slow_call_duration": "30s"}}),
        11 => {
            let routes: Vec<Value> = (0..random.below(5))
                .map(|at| json!({"name": format!("r{at}"), "path_prefix": format!("/{at}"), "cache": random.below(2) == 0, "default_ttl": "20s"}))
                .collect();
            json!({ "routes": routes })
        }
        12 => json!({"alerts": {"minimum_samples": random.below(500) + 1}}),
        _ => json!({"http2": {"max_connections_per_host": random.below(50) + 1, "compression": random.below(2) == 0}}),
    }
}

/// Asks without a pause, on one connection that must never be closed.
fn client(stack: &Stack, stop: &AtomicBool, requests: &AtomicU64) {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    for at in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let answer = connection
            .exchange(&Request::get(&format!("/{}/{}", at % 5, at % 50)))
            .expect("a connection that stays");
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, 2_000),
            "{}",
            answer.cache_status()
        );
        requests.fetch_add(1, Ordering::SeqCst);
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_thousand_changes_under_load_fail_no_request() {
    let origin = Origin::start(|request| {
        let reply = Reply::ok("x".repeat(2_000));
        if request.path.starts_with("/1") {
            reply.max_age(1)
        } else {
            reply
        }
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let (stop, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut random = Random(SEED);
    let mut waits: Vec<Duration> = Vec::new();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| client(&stack, &stop, &requests));
        }
        let _stop = StopOnDrop(&stop);
        let mut rest = Connection::open(stack.rest().address()).unwrap();
        for at in 0..CHANGES {
            let change = change(&mut random);
            // Each twentieth is followed until every worker runs on it; the others come as fast as they are taken.
            let path = if at % 20 == 0 {
                "/settings?wait=all&timeout=20s"
            } else {
                "/settings"
            };
            let request = Request::new("PATCH", path)
                .header("host", "localhost")
                .header("content-type", "application/merge-patch+json")
                .body(change.to_string());
            let sent = Instant::now();
            let answer = rest.exchange(&request).unwrap();
            assert_eq!(answer.status, 200, "change {at} {change}: {}", answer.text());
            if at % 20 == 0 {
                waits.push(sent.elapsed());
            }
        }
        stack.wait_connected().unwrap();
    });
    waits.sort_unstable();
    eprintln!(
        "{CHANGES} changes and {} requests in {:?}; in force in all workers after {:?} (median), {:?} (slowest)",
        requests.load(Ordering::SeqCst),
        begun.elapsed(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    );
    assert!(requests.load(Ordering::SeqCst) > 1_000);
    // Beside the four clients nobody connected, so nothing was dropped and dialled anew.
    let opened = stack.envoy.stat("http.ingress.downstream_cx_total");
    assert_eq!(opened, 4, "connections");
    let revision = stack.rest().document("/settings/rollout").unwrap()["revision"]
        .as_u64()
        .unwrap();
    assert!(revision > CHANGES / 2, "some draws change nothing, most do: {revision}");
}
