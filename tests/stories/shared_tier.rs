//! The shared tier behind several Envoys: what one has stored the others have, one fetch for all, purges hold, and losing the
//! tier fails no request.

use e2e::client::{Connection, Request, Response};
use e2e::fleet::Fleet;
use e2e::origin::{Gate, Origin, Reply};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Deadlines that a busy machine keeps.
fn settings() -> Value {
    json!({"shared_tier": {"enabled": true, "deadline": "1s", "coalesce_wait": "10s"}})
}

pub(super) fn get(fleet: &Fleet, envoy: usize, path: &str) -> Response {
    let answer = fleet.envoys[envoy].get(path).unwrap();
    assert_eq!(answer.status, 200, "{path} of Envoy {envoy}: {}", answer.text());
    answer
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// One that nobody has asked for.
pub(super) fn new_path() -> String {
    format!("/new/{}", NUMBER.fetch_add(1, Ordering::SeqCst))
}

/// Waits until something new is stored by one Envoy and found by the other.
pub(super) fn tier_serves(fleet: &Fleet) {
    wait::until("the tier serving", || {
        let path = new_path();
        let before = fleet.tier_count("stores");
        get(fleet, 0, &path);
        let taken = wait::until_within(Duration::from_secs(1), "the offer taken", || {
            (fleet.tier_count("stores") > before).then_some(())
        });
        taken.ok()?;
        from_tier(&get(fleet, 1, &path)).then_some(())
    })
    .unwrap();
}

pub(super) fn from_tier(answer: &Response) -> bool {
    answer
        .header("cache-status")
        .is_some_and(|value| value.contains("api-optimizer-tier; hit"))
}

/// Asks an Envoy that has it, or makes it have it, until the tier has it too.
fn store(fleet: &Fleet, envoy: usize, paths: &[String]) {
    let before = fleet.tier_count("stores");
    for path in paths {
        get(fleet, envoy, path);
    }
    let wanted = before + paths.len() as u64;
    wait::until("all offers taken", || {
        (fleet.tier_count("stores") >= wanted).then_some(())
    })
    .unwrap();
}

#[test]
fn a_cold_envoy_serves_the_hot_set_of_the_fleet() {
    let origin = Origin::start(|request| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        let reply = Reply::ok(format!("{} {language} {}", request.path, "x".repeat(2_000))).max_age(600);
        let reply = reply.header("age", "100");
        if request.path.starts_with("/varied") {
            reply.header("vary", "accept-language")
        } else {
            reply
        }
    });
    let mut fleet = Fleet::start(true, 2, settings(), origin.unwrap()).unwrap();
    for replica in [0, 1, 0] {
        fleet.add_envoy(replica).unwrap();
    }
    fleet.redis.as_ref().unwrap().ask(&["SET", "others", "x"]).unwrap();
    let hot: Vec<String> = (0..40).map(|number| format!("/hot/{number}")).collect();
    store(&fleet, 0, &hot);
    let german = Request::get("/varied").header("accept-language", "de");
    fleet.envoys[0].fetch(&german).unwrap();
    wait::until("the variant stored", || (fleet.tier_count("stores") > 40).then_some(())).unwrap();
    let fetched = fleet.origin.total();

    let cold = fleet.add_envoy(1).unwrap();
    let mut paths = hot.iter().take(8);
    let first = wait::until("an answer of the tier", || {
        Some(get(&fleet, cold, paths.next()?)).filter(from_tier)
    })
    .unwrap();
    let age = first.number("age").unwrap();
    assert!((100..600).contains(&age), "aged elsewhere: {age}");
    assert!(first.text().starts_with("/hot/"));
    let mut connection = Connection::open(fleet.envoys[cold].address()).unwrap();
    for _ in 0..25 {
        for path in &hot {
            assert_eq!(connection.exchange(&Request::get(path)).unwrap().status, 200);
        }
    }
    let asked = fleet.origin.total() - fetched;
    assert!(asked <= 10, "{asked} of 1,000 requests reached the origin");
    assert!(get(&fleet, cold, &hot[0]).is_hit(), "kept in its own cache");
    let varied = fleet.envoys[cold].fetch(&german).unwrap();
    assert!(
        from_tier(&varied) && varied.text().contains(" de "),
        "{}",
        varied.header("cache-status").unwrap_or_default()
    );
    let french = fleet.envoys[cold]
        .fetch(&Request::get("/varied").header("accept-language", "fr"))
        .unwrap();
    assert!(!from_tier(&french) && french.text().contains(" fr "));

    let redis = fleet.redis.as_ref().unwrap();
    let values: Vec<String> = redis.keys("api-optimizer:tier:*:0000000000000000").unwrap();
    assert_eq!(values.len(), 40);
    let bytes: u64 = redis.ask(&["MEMORY", "USAGE", &values[0]]).unwrap().parse().unwrap();
    println!("bytes in Redis for a response of 2 KB: {bytes}");
    // Damaged and foreign values are misses, and counted.
    for value in &values {
        redis.ask(&["SET", value, "not ours", "KEEPTTL"]).unwrap();
    }
    let other = fleet.add_envoy(0).unwrap();
    let mut paths = hot.iter();
    wait::until("a damaged value counted", || {
        let answer = get(&fleet, other, paths.next()?);
        assert!(!from_tier(&answer));
        (fleet.tier_count("damaged") >= 1).then_some(())
    })
    .unwrap();
    let redis = fleet.redis.as_ref().unwrap();
    assert_eq!(redis.ask(&["GET", "others"]).unwrap(), "x");
    let ours = redis.keys("api-optimizer:tier:*").unwrap().len();
    assert_eq!(redis.keys("*").unwrap().len(), ours + 1, "nothing outside the prefix");
}

#[test]
fn one_fetch_for_all_envoys() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(request.path.clone()).max_age(600);
        if request.path == "/slow" {
            reply.behind(&held)
        } else {
            reply
        }
    });
    let mut fleet = Fleet::start(false, 1, settings(), origin.unwrap()).unwrap();
    for _ in 0..3 {
        fleet.add_envoy(0).unwrap();
    }
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..9)
            .map(|number| {
                let fleet = &fleet;
                scope.spawn(move || get(fleet, number % 3, "/slow"))
            })
            .collect();
        wait::until("the fetch at the origin", || {
            (fleet.origin.count("/slow") > 0).then_some(())
        })
        .unwrap();
        wait::until("others told to wait", || {
            (fleet.tier_count("leases") >= 1).then_some(())
        })
        .unwrap();
        gate.open();
        for client in clients {
            assert_eq!(client.join().unwrap().text(), "/slow");
        }
    });
    assert_eq!(fleet.origin.count("/slow"), 1);
}

#[test]
fn a_purge_holds_against_late_writes_and_on_every_envoy() {
    let version = Arc::new(AtomicU64::new(1));
    let gate = Gate::default();
    let (told, held) = (Arc::clone(&version), gate.clone());
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(format!("version {}", told.load(Ordering::SeqCst))).max_age(600);
        if request.path == "/late" && told.load(Ordering::SeqCst) == 1 {
            reply.behind(&held)
        } else {
            reply
        }
    });
    let mut fleet = Fleet::start(false, 1, settings(), origin.unwrap()).unwrap();
    fleet.add_envoy(0).unwrap();
    fleet.add_envoy(0).unwrap();
    store(&fleet, 0, &["/page".to_owned(), "/other".to_owned()]);
    std::thread::scope(|scope| {
        let late = scope.spawn(|| get(&fleet, 0, "/late"));
        wait::until("the fetch under way", || {
            (fleet.origin.count("/late") == 1).then_some(())
        })
        .unwrap();
        version.store(2, Ordering::SeqCst);
        let purge = Request::new("POST", "/cache/purge?wait=all&timeout=20s")
            .header("content-type", "application/json")
            .body(json!({"all": true}).to_string());
        let receipt = fleet.rest(0).send(&purge).unwrap();
        assert_eq!(receipt.status, 200, "{}", receipt.text());
        assert_eq!(receipt.json().unwrap()["shared_tier"], "applied");
        gate.open();
        assert_eq!(late.join().unwrap().text(), "version 1", "begun before the purge");
    });
    wait::until("the late offer refused", || {
        (fleet.tier_count("refused") >= 1).then_some(())
    })
    .unwrap();
    for path in ["/late", "/page"] {
        for envoy in [1, 0] {
            assert_eq!(get(&fleet, envoy, path).text(), "version 2", "{path} of Envoy {envoy}");
        }
    }
    // An unsafe method on one Envoy: neither its own cache nor the tier gives it the old one.
    version.store(3, Ordering::SeqCst);
    fleet.envoys[0].fetch(&Request::new("POST", "/page").body("x")).unwrap();
    assert_eq!(get(&fleet, 0, "/page").text(), "version 3");
}

/// Purges and waits until that is done everywhere.
fn purge(fleet: &Fleet, replica: usize, what: &Value) {
    let purge = Request::new("POST", "/cache/purge?wait=all&timeout=20s")
        .header("content-type", "application/json")
        .body(what.to_string());
    let receipt = fleet.rest(replica).send(&purge).unwrap();
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    assert_eq!(receipt.json().unwrap()["complete"], true, "{}", receipt.text());
}

#[test]
fn a_purge_over_one_replica_does_not_hide_that_over_another_before_it() {
    let version = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&version);
    let origin = Origin::start(move |_| {
        let reply = Reply::ok(format!("version {}", told.load(Ordering::SeqCst)));
        reply.max_age(600).header("surrogate-key", "shop")
    });
    let mut fleet = Fleet::replicated(2, settings(), origin.unwrap()).unwrap();
    fleet.add_envoy(0).unwrap();
    fleet.add_envoy(1).unwrap();
    store(&fleet, 0, &["/page".to_owned()]);
    version.store(2, Ordering::SeqCst);
    // Nobody asks the tier through the first replica between the two.
    purge(&fleet, 1, &json!({"tag": "shop"}));
    purge(&fleet, 0, &json!({"url": "http://api.example/another"}));
    assert_eq!(get(&fleet, 0, "/page").text(), "version 2");
    assert_eq!(get(&fleet, 1, "/page").text(), "version 2");
}

#[test]
fn a_lost_redis_fails_no_request_and_returns_by_itself() {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let document =
        json!({"shared_tier": {"enabled": true, "deadline": "1s", "breaker_failures": 3, "breaker_wait": "200ms"}});
    let mut fleet = Fleet::start(true, 1, document, origin).unwrap();
    fleet.add_envoy(0).unwrap();
    fleet.add_envoy(0).unwrap();
    let degraded = |fleet: &Fleet, part: &str| {
        wait::until(&format!("health telling of {part}"), || {
            let health = fleet.rest(0).document("/health").ok()?;
            let tier = &health["components"]["shared_tier"];
            // Traffic goes on, and nobody fails.
            for envoy in [0, 1] {
                get(fleet, envoy, &new_path());
            }
            let told = tier["status"] == "degraded" && tier["reason"].as_str().is_some_and(|text| text.contains(part));
            told.then_some(())
        })
        .unwrap();
        assert_eq!(fleet.rest(0).get("/health/ready").unwrap().status, 200);
    };
    tier_serves(&fleet);

    fleet.redis.as_mut().unwrap().kill();
    degraded(&fleet, "");
    fleet.redis.as_mut().unwrap().restart().unwrap();
    tier_serves(&fleet);

    fleet.redis.as_ref().unwrap().freeze();
    degraded(&fleet, "no answer");
    fleet.redis.as_ref().unwrap().thaw();
    tier_serves(&fleet);

    store(&fleet, 0, &["/kept".to_owned()]);
    let redis = fleet.redis.as_ref().unwrap();
    redis.ask(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    degraded(&fleet, "OOM");
    assert!(from_tier(&get(&fleet, 1, "/kept")), "what it has it hands out");
    fleet
        .redis
        .as_ref()
        .unwrap()
        .ask(&["CONFIG", "SET", "maxmemory", "0"])
        .unwrap();
    tier_serves(&fleet);

    let redis = fleet.redis.as_ref().unwrap();
    redis.ask(&["CONFIG", "SET", "requirepass", "changed"]).unwrap();
    redis
        .ask(&["-a", "changed", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .unwrap();
    degraded(&fleet, "NOAUTH");
    let redis = fleet.redis.as_ref().unwrap();
    redis
        .ask(&["-a", "changed", "CONFIG", "SET", "requirepass", ""])
        .unwrap();
    tier_serves(&fleet);
}
