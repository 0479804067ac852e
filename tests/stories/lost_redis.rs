//! Replicas after Redis has lost what they shared: no change that was accepted is gone, and no Envoy is given what nobody decided on.

use e2e::client::Request;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::wait;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Two replicas, and no Envoy yet.
fn fleet() -> Fleet {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    Fleet::replicated(2, json!({}), origin).unwrap()
}

fn change(fleet: &Fleet, replica: usize, change: &Value) {
    let answer = fleet.rest(replica).merge_patch("/settings", change).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn settings(fleet: &Fleet, replica: usize) -> Option<Value> {
    fleet.rest(replica).document("/settings").ok()
}

/// Waits until settings hold at a replica, and in all Envoys that it knows.
fn holds(fleet: &Fleet, replica: usize, what: &str, wanted: impl Fn(&Value) -> bool) {
    wait::until(&format!("{what} at replica {replica}"), || {
        let rollout = fleet.rest(replica).document("/settings/rollout").ok()?;
        (wanted(&settings(fleet, replica)?) && rollout["complete"] == true).then_some(())
    })
    .unwrap();
}

fn start(fleet: &mut Fleet, replica: usize) {
    fleet.controls[replica].restart().unwrap();
    fleet.controls[replica].wait_live().unwrap();
}

#[test]
fn defaults_that_another_replica_began_with_are_not_given_to_an_envoy_that_has_settings() {
    let mut fleet = fleet();
    let envoy = fleet.add_envoy(1).unwrap();
    change(
        &fleet,
        0,
        &json!({"routes": [{"name": "private", "path_prefix": "/private/", "cache": false}]}),
    );
    let before = settings(&fleet, 0).unwrap();
    holds(&fleet, 1, "the rule", |now| *now == before);
    // By the origin's word: what is not asked there came from the cache.
    let is_cached = |fleet: &Fleet| {
        let before = fleet.origin.count("/private/x");
        let answer = fleet.envoys[envoy].fetch(&Request::get("/private/x")).unwrap();
        assert_eq!(answer.status, 200);
        fleet.origin.count("/private/x") == before
    };
    assert!(!is_cached(&fleet) && !is_cached(&fleet));

    fleet.controls.iter_mut().for_each(|control| control.kill());
    for control in &fleet.controls {
        std::fs::remove_dir_all(control.state_dir()).unwrap();
    }
    fleet.redis.as_ref().unwrap().ask(&["FLUSHALL"]).unwrap();
    // This one has no Envoy to ask. What it puts into Redis are defaults.
    start(&mut fleet, 0);
    wait::until("a replica without Envoys ready", || {
        let answer = fleet.rest(0).get("/health/ready").ok()?;
        (answer.status == 200).then_some(())
    })
    .unwrap();
    start(&mut fleet, 1);
    wait::until("the settings of the Envoy adopted by both", || {
        assert!(!is_cached(&fleet), "what must not be cached was");
        (settings(&fleet, 0)? == before && settings(&fleet, 1)? == before).then_some(())
    })
    .unwrap();
    change(&fleet, 0, &json!({"cache_size": 77}));
    holds(&fleet, 1, "a later change", |now| now["cache_size"] == 77);
    assert!(!is_cached(&fleet) && !is_cached(&fleet));
}

#[test]
fn a_change_that_only_one_disk_knows_is_done_again() {
    let mut fleet = fleet();
    change(&fleet, 0, &json!({"cache_size": 501}));
    for replica in [0, 1] {
        holds(&fleet, replica, "the first size", |now| now["cache_size"] == 501);
    }
    fleet.controls[0].kill();
    let redis = |fleet: &Fleet, ask: &[&str]| fleet.redis.as_ref().unwrap().ask(ask).unwrap();
    let keys = fleet.redis.as_ref().unwrap().keys("*").unwrap();
    for key in &keys {
        redis(&fleet, &["COPY", key, &format!("kept:{key}"), "REPLACE"]);
    }
    change(&fleet, 1, &json!({"cache_size": 502, "breaker": {"minimum_calls": 33}}));
    fleet.controls[1].kill();
    // As after a failover to a server that had not got the newest writes.
    for key in &keys {
        redis(&fleet, &["COPY", &format!("kept:{key}"), key, "REPLACE"]);
    }
    start(&mut fleet, 0);
    wait::until("a replica that does not know it", || {
        (fleet.rest(0).get("/health/ready").ok()?.status == 200).then_some(())
    })
    .unwrap();
    assert_eq!(settings(&fleet, 0).unwrap()["breaker"]["minimum_calls"], 20);
    change(&fleet, 0, &json!({"cache_size": 601}));
    change(&fleet, 0, &json!({"default_ttl": "7m"}));
    start(&mut fleet, 1);
    for replica in [0, 1] {
        holds(&fleet, replica, "both changes", |now| {
            now["cache_size"] == 601 && now["default_ttl"] == "7m" && now["breaker"]["minimum_calls"] == 33
        });
    }
    assert_eq!(
        fleet.rest(0).document("/settings/history").unwrap(),
        fleet.rest(1).document("/settings/history").unwrap()
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_loss_that_could_not_be_looked_into_is_as_soon_as_redis_is_back() {
    let mut fleet = fleet();
    fleet.add_envoy(0).unwrap();
    change(&fleet, 0, &json!({"cache_size": 501}));
    holds(&fleet, 0, "the first size", |now| now["cache_size"] == 501);
    fleet.controls[1].kill();
    let state = fleet.controls[0].state_dir().to_owned();
    let older = tempfile::tempdir().unwrap();
    copy(&state, older.path());
    for size in 502..505 {
        change(&fleet, 0, &json!({ "cache_size": size }));
    }
    holds(&fleet, 0, "the last size", |now| now["cache_size"] == 504);

    // A disk of before, and nobody to ask.
    fleet.controls[0].kill();
    std::fs::remove_dir_all(&state).unwrap();
    copy(older.path(), &state);
    fleet.redis.as_mut().unwrap().kill();
    start(&mut fleet, 0);
    wait::until(
        "the Envoy back, on settings that its control plane does not have",
        || {
            let envoys = fleet.rest(0).document("/fleet").ok()?;
            let envoy = envoys.as_array()?.first()?.clone();
            (envoy["connected"] == true).then_some(())
        },
    )
    .unwrap();
    assert_eq!(settings(&fleet, 0).unwrap()["cache_size"], 501);
    fleet.redis.as_mut().unwrap().restart().unwrap();
    fleet.redis.as_ref().unwrap().ask(&["FLUSHALL"]).unwrap();
    holds(&fleet, 0, "settings in force again", |now| now["cache_size"] == 501);
    change(&fleet, 0, &json!({"cache_size": 700}));
    holds(&fleet, 0, "a later change", |now| now["cache_size"] == 700);
}
