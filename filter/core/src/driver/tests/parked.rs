//! Requests that wait: whatever they hold is given back, and nobody waits for ever.

use super::*;
use optimizer_proto::v1::TierFound;

const TIER: &str = r#"{"shared_tier":{"enabled":true,"deadline":"50ms"}}"#;

fn tick(envoy: &mut Envoy) {
    envoy.vm.on_tick(&envoy.host, ROOT);
    wake(envoy);
}

/// The tier answers the call with that number.
fn tier_answers(envoy: &mut Envoy, token: u32, found: &TierFound) {
    *envoy.host.incoming.borrow_mut() = found.encode_to_vec();
    let size = envoy.host.incoming.borrow().len();
    envoy.vm.on_grpc_answer(&envoy.host, token, 0, size);
}

#[test]
fn a_fetch_that_is_forgotten_strands_nobody() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let followers: Vec<_> = (2..6).map(|context| begin(&mut envoy, context)).collect();
    assert!(followers.iter().all(|(_, flow)| *flow == Flow::Pause));
    drop(leader);
    tick(&mut envoy);
    assert_eq!(envoy.host.resumed.get(), 1, "one of them fetches");
    finish(&mut envoy, &followers[0].0, &FRESH, b"body");
    assert_eq!(envoy.host.replies.borrow().len(), 3);
}

#[test]
fn a_place_that_was_given_to_one_who_left_is_given_back() {
    let settings = r#"{"cache_enabled":false,"max_connections":40,"concurrency":{"queue":40,"queue_timeout":"1m"}}"#;
    let mut envoy = Envoy::new(settings);
    let calls: Vec<_> = (1..=40).map(|context| begin(&mut envoy, context)).collect();
    let waiting: Vec<_> = (41..=80).map(|context| begin(&mut envoy, context)).collect();
    assert!(calls.iter().all(|(_, flow)| *flow == Flow::Continue));
    assert!(waiting.iter().all(|(_, flow)| *flow == Flow::Pause));
    for (call, _) in &calls {
        envoy.vm.on_end(&envoy.host, call);
    }
    let queue = envoy.vm.queue;
    envoy.vm.on_wake(&envoy.host, ROOT, queue);
    assert_eq!(envoy.host.resumed.get(), 16, "a few in each callback");
    // These have their places, and leave before they go on.
    for (left, _) in &waiting[30..] {
        envoy.vm.on_end(&envoy.host, left);
    }
    wake(&mut envoy);
    assert_eq!(envoy.host.resumed.get(), 30);
    let more: Vec<_> = (81..=90).map(|context| begin(&mut envoy, context)).collect();
    assert!(
        more.iter().all(|(_, flow)| *flow == Flow::Continue),
        "their places are free"
    );
    assert_eq!(begin(&mut envoy, 91).1, Flow::Pause);
}

#[test]
fn a_tier_that_loses_its_answer_delays_a_request_and_no_more() {
    let mut envoy = Envoy::new(TIER);
    let (_asks, flow) = begin(&mut envoy, 1);
    assert_eq!(flow, Flow::Pause);
    wake(&mut envoy);
    assert_eq!(envoy.host.grpc_calls.borrow().len(), 1);
    envoy.wait(100);
    tick(&mut envoy);
    assert_eq!(
        envoy.host.resumed.get(),
        0,
        "Envoy itself ends the call at its deadline"
    );
    envoy.wait(1_000);
    tick(&mut envoy);
    assert_eq!(envoy.host.resumed.get(), 1);
    tier_answers(&mut envoy, 1, &TierFound::default());
    assert_eq!(envoy.host.resumed.get(), 1, "late");
}

#[test]
fn lost_answers_let_a_crowd_go_a_few_in_each_callback() {
    let mut envoy = Envoy::new(TIER);
    let asks: Vec<_> = (1..=40)
        .map(|context| {
            let path = format!("/{context}");
            envoy.host.set_request(&[GET[0], GET[1], GET[2], (":path", &path)]);
            let shared = SharedExchange::default();
            let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
            (shared, flow)
        })
        .collect();
    assert!(asks.iter().all(|(_, flow)| *flow == Flow::Pause));
    wake(&mut envoy);
    envoy.wait(2_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert_eq!(envoy.host.resumed.get(), 16, "more are more than Envoy's stack holds");
    wake(&mut envoy);
    assert_eq!(envoy.host.resumed.get(), 40);
}

#[test]
fn who_leaves_while_the_tier_is_asked_hands_the_fetch_on() {
    let mut envoy = Envoy::new(TIER);
    let (asks, _) = begin(&mut envoy, 1);
    wake(&mut envoy);
    let (_follows, flow) = begin(&mut envoy, 2);
    assert_eq!(flow, Flow::Pause);
    envoy.vm.on_end(&envoy.host, &asks);
    wake(&mut envoy);
    assert_eq!(envoy.host.grpc_calls.borrow().len(), 2, "the follower asks now");
    tier_answers(&mut envoy, 1, &TierFound::default());
    assert_eq!(envoy.host.resumed.get(), 0, "of one that has gone");
    tier_answers(&mut envoy, 2, &TierFound::default());
    assert_eq!(envoy.host.resumed.get(), 1, "goes to the origin");
}

#[test]
fn a_clock_that_goes_back_ends_what_waits() {
    let mut envoy =
        Envoy::new(r#"{"cache_enabled":false,"max_connections":1,"concurrency":{"queue":1,"queue_timeout":"1s"}}"#);
    let _call = begin(&mut envoy, 1);
    assert_eq!(begin(&mut envoy, 2).1, Flow::Pause);
    envoy.host.now_ms.set(envoy.host.now_ms.get() - 3_600_000);
    tick(&mut envoy);
    assert_eq!(envoy.host.replies.borrow().last().unwrap().status, 503);
}
