//! The shared tier and replicas on Redis, in every form of it and in every kind of trouble.

mod failures;
mod redis_forms;
mod scale;

use crate::shared_tier::{from_tier, get, new_path, tier_serves};
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// Deadlines that a busy machine keeps, and a tier that is soon left out and soon tried again.
fn settings() -> Value {
    json!({"shared_tier": {"enabled": true, "deadline": "1s", "breaker_failures": 3, "breaker_wait": "200ms"}})
}

/// Two replicas on a Redis, with an Envoy each.
fn fleet(url: &str, environment: &[(&str, &str)]) -> Fleet {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let environment = [&[("REDIS_URL", url), ("REPLICAS", "true")], environment].concat();
    let mut fleet = Fleet::start_with(false, 2, settings(), origin, &environment).unwrap();
    for replica in [0, 1] {
        fleet.add_envoy(replica).unwrap();
    }
    fleet
}

/// Several times, so that each server of a cluster has had something.
fn tier_works(fleet: &Fleet) {
    (0..6).for_each(|_| tier_serves(fleet));
}

/// A change over one replica is in force at the other and on its Envoy.
fn replicas_agree(fleet: &Fleet, size: u64) {
    let change = json!({ "cache_size": size });
    wait::until("a change accepted", || {
        let answer = fleet
            .rest(0)
            .merge_patch("/settings?wait=all&timeout=20s", &change)
            .ok()?;
        (answer.status == 200).then_some(())
    })
    .unwrap();
    in_force(fleet, size);
}

fn in_force(fleet: &Fleet, size: u64) {
    for replica in [0, 1] {
        wait::until(&format!("size {size} in force at replica {replica}"), || {
            let settings = fleet.rest(replica).document("/settings").ok()?;
            let rollout = fleet.rest(replica).document("/settings/rollout").ok()?;
            (settings["cache_size"] == size && rollout["complete"] == true).then_some(())
        })
        .unwrap();
    }
}

fn healthy(fleet: &Fleet, is_healthy: bool) {
    for replica in [0, 1] {
        let what = if is_healthy {
            "healthy"
        } else {
            "degraded, with a reason,"
        };
        wait::until(&format!("replica {replica} {what} again"), || {
            let health = fleet.rest(replica).document("/health").ok()?;
            let tier = &health["components"]["shared_tier"];
            let told = if is_healthy {
                tier["status"] == "healthy"
            } else {
                tier["status"] == "degraded" && tier["reason"].as_str().is_some_and(|reason| !reason.is_empty())
            };
            told.then_some(())
        })
        .unwrap();
        assert_eq!(fleet.rest(replica).get("/health/ready").unwrap().status, 200);
    }
}

/// Says that it is over when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until so many more requests have come to the origin.
fn more(fleet: &Fleet, count: usize) {
    let before = fleet.origin.total();
    wait::until("more requests", || {
        (fleet.origin.total() >= before + count).then_some(())
    })
    .unwrap();
}

/// Runs `story` while a client of each Envoy asks for new things and old ones; each of them gets an answer.
fn under_load(fleet: &Fleet, story: impl FnOnce(&Fleet)) {
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = |envoy| {
            scope.spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    get(fleet, envoy, &new_path());
                    get(fleet, envoy, "/old");
                    count += 2;
                }
                count
            })
        };
        let clients: Vec<_> = (0..fleet.envoys.len()).map(client).collect();
        // Also when the story fails, so that its failure is seen.
        let end = End(done);
        story(fleet);
        drop(end);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    });
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("optimizer-redis-").tempdir().unwrap()
}
