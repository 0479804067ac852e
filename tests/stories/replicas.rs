//! Replicas of the control plane that act as one through Redis.

use e2e::client::Request;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::wait;
use serde_json::{Value, json};

/// Replicas with an Envoy at each.
fn fleet() -> Fleet {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let mut fleet = Fleet::replicated(2, json!({}), origin).unwrap();
    for replica in [0, 1] {
        fleet.add_envoy(replica).unwrap();
    }
    fleet
}

fn document(fleet: &Fleet, replica: usize, path: &str) -> Value {
    fleet.rest(replica).document(path).unwrap()
}

/// Changes the size of the cache over a replica.
fn resize(fleet: &Fleet, replica: usize, size: u64) -> u64 {
    let answer = fleet
        .rest(replica)
        .merge_patch("/settings?wait=all&timeout=20s", &json!({ "cache_size": size }))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()["revision"].as_u64().unwrap()
}

/// Waits until a replica has a size in force, and all Envoys that it knows.
fn resized(fleet: &Fleet, replica: usize, size: u64) {
    wait::until(&format!("size {size} in force at replica {replica}"), || {
        let rest = fleet.rest(replica);
        let settings = rest.document("/settings").ok()?;
        let rollout = rest.document("/settings/rollout").ok()?;
        (settings["cache_size"] == size && rollout["complete"] == true).then_some(())
    })
    .unwrap();
}

#[test]
fn settings_are_one_for_all_replicas() {
    let mut fleet = fleet();
    let first = resize(&fleet, 0, 501);
    resized(&fleet, 1, 501);
    assert_eq!(
        document(&fleet, 0, "/settings/history"),
        document(&fleet, 1, "/settings/history")
    );

    // Of writers on one base at several replicas one wins.
    let tag = |replica: usize| {
        let answer = fleet.rest(replica).get("/settings").unwrap();
        answer.header("etag").unwrap().to_owned()
    };
    assert_eq!(tag(0), tag(1));
    let base = tag(0);
    let won = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let (fleet, base) = (&fleet, &base);
                scope.spawn(move || {
                    let change = Request::new("PATCH", "/settings")
                        .header("content-type", "application/merge-patch+json")
                        .header("if-match", base)
                        .body(json!({ "cache_size": 600 + number }).to_string());
                    fleet.rest(number % 2).send(&change).unwrap().status
                })
            })
            .collect();
        let answers: Vec<u16> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        assert!(answers.iter().all(|status| [200, 412].contains(status)), "{answers:?}");
        answers.iter().filter(|status| **status == 200).count()
    });
    assert_eq!(won, 1);

    // What was accepted survives its replica.
    let accepted = resize(&fleet, 0, 502);
    fleet.controls[0].kill();
    assert_eq!(accepted, first + 2);
    resized(&fleet, 1, 502);
    let more = resize(&fleet, 1, 503);
    assert_eq!(more, accepted + 1);
    fleet.controls[0].restart().unwrap();
    fleet.controls[0].wait_live().unwrap();
    resized(&fleet, 0, 503);

    // Without Redis nothing is written anywhere, and everything is served.
    fleet.redis.as_mut().unwrap().kill();
    for replica in [0, 1] {
        let refused = wait::until("a write refused", || {
            let answer = fleet
                .rest(replica)
                .merge_patch("/settings", &json!({"cache_size": 777}));
            answer.ok().filter(|answer| answer.status == 503)
        })
        .unwrap();
        assert_eq!(refused.json().unwrap()["code"], "replicas_unavailable");
        assert_eq!(document(&fleet, replica, "/settings")["cache_size"], 503);
        assert_eq!(fleet.rest(replica).get("/health/ready").unwrap().status, 200);
        let health = document(&fleet, replica, "/health");
        assert_eq!(health["components"]["replicas"]["status"], "degraded", "{health}");
        assert_eq!(fleet.envoys[replica].get("/served").unwrap().status, 200);
    }

    // It comes back with nothing in it: what was accepted is put back, and it goes on.
    fleet.redis.as_mut().unwrap().restart().unwrap();
    for (replica, size) in [(1, 504), (0, 505)] {
        wait::until("in touch again", || {
            let health = fleet.rest(replica).document("/health").ok()?;
            (health["components"]["replicas"]["status"] == "healthy").then_some(())
        })
        .unwrap();
        assert!(resize(&fleet, replica, size) > more);
        resized(&fleet, 1 - replica, size);
    }
}
