//! A Redis that is slow, that comes back with what it had before, or that does not let the control planes in.

use super::{fleet, folder, get, healthy, new_path, replicas_agree, settings, tier_works, under_load};
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::redis::Redis;
use e2e::relay::Relay;
use e2e::wait;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn reason_holds(fleet: &Fleet, part: &str) {
    for replica in [0, 1] {
        wait::until(&format!("health telling of {part}"), || {
            let health = fleet.rest(replica).document("/health").ok()?;
            let tier = &health["components"]["shared_tier"];
            let told = tier["status"] == "degraded" && tier["reason"].as_str().is_some_and(|text| text.contains(part));
            told.then_some(())
        })
        .unwrap();
        assert_eq!(fleet.rest(replica).get("/health/ready").unwrap().status, 200);
    }
}

#[test]
fn a_slow_redis_is_left_out_and_agreed_on_all_the_same() {
    let folder = folder();
    let redis = Redis::start(folder.path()).unwrap();
    let relay = Relay::open(redis.port()).unwrap();
    let fleet = fleet(&format!("redis://127.0.0.1:{}", relay.port()), &[]);
    tier_works(&fleet);
    replicas_agree(&fleet, 601);
    under_load(&fleet, |fleet| {
        relay.delay(Duration::from_millis(500));
        reason_holds(fleet, "no answer in time");
        // Nobody waits for the tier any more: it is not even asked.
        wait::until("requests that do not ask the tier", || {
            let answer = fleet.envoys[0].get(&new_path()).unwrap();
            let told = answer.header("cache-status")?;
            (answer.status == 200 && told.contains("tier-not-asked")).then_some(())
        })
        .unwrap();
        // Replicas have more patience.
        replicas_agree(fleet, 602);
        relay.delay(Duration::ZERO);
        healthy(fleet, true);

        // Not so slow that it counts as gone, and yet of no use.
        relay.delay(Duration::from_millis(150));
        reason_holds(fleet, "answers take");
        relay.delay(Duration::ZERO);
        healthy(fleet, true);
    });
    tier_works(&fleet);
    replicas_agree(&fleet, 603);
}

#[test]
fn an_older_data_set_does_not_bring_back_what_was_purged() {
    let version = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&version);
    let origin = Origin::start(move |_| Reply::ok(format!("version {}", told.load(Ordering::SeqCst))).max_age(600));
    // Each for itself: the second hears of purges from Redis alone.
    let mut fleet = Fleet::start(true, 2, settings(), origin.unwrap()).unwrap();
    fleet.add_envoy(0).unwrap();
    let before = fleet.tier_count("stores");
    get(&fleet, 0, "/page");
    wait::until("the page in the tier", || {
        (fleet.tier_count("stores") > before).then_some(())
    })
    .unwrap();
    fleet.redis.as_ref().unwrap().ask(&["SAVE"]).unwrap();
    version.store(2, Ordering::SeqCst);
    let purged = fleet
        .rest(0)
        .send(
            &e2e::client::Request::new("POST", "/cache/purge?wait=all&timeout=20s")
                .header("content-type", "application/json")
                .body(json!({"all": true}).to_string()),
        )
        .unwrap();
    assert_eq!(purged.json().unwrap()["shared_tier"], "applied");

    // The first, which knows of the purge, is gone as well.
    fleet.controls[0].kill();
    let redis = fleet.redis.as_mut().unwrap();
    redis.kill();
    redis.restart().unwrap();
    assert_eq!(
        redis.keys("api-optimizer:tier:*:0000000000000000").unwrap().len(),
        1,
        "it is there again"
    );
    let cold = fleet.add_envoy(1).unwrap();
    wait::until("a look into the tier", || {
        assert_eq!(get(&fleet, cold, "/page").text(), "version 2");
        get(&fleet, cold, &new_path());
        let counters = fleet.rest(1).document("/cache/tier").ok()?;
        (counters["counters"]["purged"].as_u64()? > 0 || counters["counters"]["misses"].as_u64()? > 0).then_some(())
    })
    .unwrap();
}

#[test]
fn a_password_that_is_refused_is_told_and_tried_again() {
    let folder = folder();
    let redis = Redis::start(folder.path()).unwrap();
    redis.ask(&["CONFIG", "SET", "requirepass", "other"]).unwrap();
    let fleet = {
        let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
        let url = format!("redis://:right@127.0.0.1:{}", redis.port());
        let mut fleet = Fleet::start_with(false, 2, settings(), origin, &[("REDIS_URL", url.as_str())]).unwrap();
        for replica in [0, 1] {
            fleet.add_envoy(replica).unwrap();
        }
        fleet
    };
    under_load(&fleet, |fleet| {
        reason_holds(fleet, "Password authentication failed");
        let right = [
            "--no-auth-warning",
            "-a",
            "other",
            "CONFIG",
            "SET",
            "requirepass",
            "right",
        ];
        assert_eq!(redis.ask(&right).unwrap(), "OK");
        healthy(fleet, true);
    });
    tier_works(&fleet);
}
