//! More Envoys make the system bigger, and none of its parts is needed by the others.

use super::{from_tier, get, healthy, more, replicas_agree, settings, tier_works, under_load};
use e2e::client::{Connection, Request};
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::wait;

const HOT: usize = 500;
const FIRST: usize = 1_000;

/// Three Envoys, two replicas, one Redis.
fn fleet() -> Fleet {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let mut fleet = Fleet::replicated(2, settings(), origin).unwrap();
    for replica in [0, 1, 0] {
        fleet.add_envoy(replica).unwrap();
    }
    fleet
}

#[test]
fn a_fourth_envoy_comes_without_the_origin_noticing() {
    let mut fleet = fleet();
    let hot: Vec<String> = (0..HOT).map(|number| format!("/hot/{number}")).collect();
    // Each is fetched by one Envoy.
    let before = fleet.tier_count("stores");
    for (number, path) in hot.iter().enumerate() {
        get(&fleet, number % 3, path);
    }
    wait::until("the hot set in the tier", || {
        (fleet.tier_count("stores") >= before + HOT as u64).then_some(())
    })
    .unwrap();

    let cold = fleet.add_envoy(1).unwrap();
    let fetched = fleet.origin.total();
    let mut connection = Connection::open(fleet.envoys[cold].address()).unwrap();
    let (mut own, mut tier) = (0, 0);
    for path in hot.iter().cycle().take(FIRST) {
        let answer = connection.exchange(&Request::get(path)).unwrap();
        assert_eq!((answer.status, answer.text()), (200, path.clone()));
        tier += usize::from(from_tier(&answer));
        own += usize::from(!from_tier(&answer) && answer.is_hit());
    }
    let asked = fleet.origin.total() - fetched;
    assert!(
        asked * 100 <= FIRST,
        "{asked} of {FIRST} requests reached the origin; {tier} from the tier, {own} its own"
    );
    assert!(tier >= HOT - asked, "{tier} from the tier, {own} its own");
}

#[test]
fn every_part_may_die_under_load() {
    let mut fleet = fleet();
    tier_works(&fleet);
    under_load(&fleet, |fleet| more(fleet, 100));

    let mut envoy = fleet.envoys.pop().unwrap();
    under_load(&fleet, |fleet| {
        envoy.process().kill();
        more(fleet, 100);
    });
    tier_works(&fleet);

    let mut control = fleet.controls.pop().unwrap();
    under_load(&fleet, |fleet| {
        control.kill();
        more(fleet, 100);
        let health = fleet.rest(0).get("/health/ready").unwrap();
        assert_eq!(health.status, 200);
        control.restart().unwrap();
        control.wait_live().unwrap();
        more(fleet, 100);
    });
    fleet.controls.push(control);
    replicas_agree(&fleet, 601);
    tier_works(&fleet);

    let mut redis = fleet.redis.take().unwrap();
    under_load(&fleet, |fleet| {
        redis.kill();
        healthy(fleet, false);
        more(fleet, 100);
        // What is said meanwhile is told later.
        let silence = Request::new("POST", "/alerts/silences")
            .header("content-type", "application/json")
            .body(r#"{"name": "said without Redis", "expires_in": "1h"}"#);
        assert_eq!(fleet.rest(1).send(&silence).unwrap().status, 201);
        redis.restart().unwrap();
        healthy(fleet, true);
        wait::until("the silence heard", || {
            let silences = fleet.rest(0).document("/alerts/silences").ok()?;
            silences.to_string().contains("said without Redis").then_some(())
        })
        .unwrap();
    });
    replicas_agree(&fleet, 602);
    tier_works(&fleet);
}
