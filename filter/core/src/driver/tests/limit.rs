//! The limit of calls in flight.

use super::*;

/// A request that is forwarded and not answered yet.
fn under_way(envoy: &mut Envoy, context: u32) -> (SharedExchange, Flow) {
    envoy.host.set_request(&[GET[0], GET[1], GET[2], (":path", "/slow")]);
    let shared = SharedExchange::default();
    let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
    (shared, flow)
}

const LIMITED: &str = r#"{"cache_enabled":false,"max_connections":2,"concurrency":{"queue":1,"queue_timeout":"1s"}}"#;

#[test]
fn calls_beyond_the_limit_wait_and_those_beyond_the_queue_are_refused() {
    let mut envoy = Envoy::new(LIMITED);
    let (first, one) = under_way(&mut envoy, 1);
    let (_second, two) = under_way(&mut envoy, 2);
    assert_eq!((one, two), (Flow::Continue, Flow::Continue));
    let (_third, three) = under_way(&mut envoy, 3);
    assert_eq!(three, Flow::Pause, "waits");
    assert!(envoy.host.replies.borrow().is_empty());
    let (_fourth, four) = under_way(&mut envoy, 4);
    assert_eq!(four, Flow::Pause);
    let refused = envoy.host.replies.borrow().last().cloned().unwrap();
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    assert!(
        refused
            .field("proxy-status")
            .unwrap()
            .contains("connection_limit_reached")
    );
    assert!(refused.field("cache-status").unwrap().contains("concurrency-limit"));
    let resumed = envoy.host.resumed.get();
    envoy.vm.on_end(&envoy.host, &first);
    let queue = envoy.vm.queue;
    envoy.vm.on_wake(&envoy.host, ROOT, queue);
    assert_eq!(envoy.host.resumed.get(), resumed + 1, "the one that waited goes on");
}

#[test]
fn who_waits_too_long_is_refused_and_who_leaves_is_forgotten() {
    let mut envoy = Envoy::new(LIMITED);
    let (_first, _) = under_way(&mut envoy, 1);
    let (second, _) = under_way(&mut envoy, 2);
    let (_third, _) = under_way(&mut envoy, 3);
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert_eq!(envoy.host.replies.borrow().last().unwrap().status, 503);
    envoy.host.replies.borrow_mut().clear();
    let (gone, flow) = under_way(&mut envoy, 4);
    assert_eq!((flow, envoy.host.replies.borrow().len()), (Flow::Pause, 0));
    envoy.vm.on_end(&envoy.host, &gone);
    envoy.vm.on_end(&envoy.host, &second);
    assert!(
        matches!(under_way(&mut envoy, 5).1, Flow::Continue),
        "its place in the queue is free as well"
    );
}

#[test]
fn a_place_is_given_back_however_the_call_ends() {
    let mut envoy = Envoy::new(LIMITED);
    for status in ["200", "503", "404"] {
        for _ in 0..5 {
            forwarded(envoy.get(&[], status, &UNCACHED, b"x"));
        }
    }
}

#[test]
fn breaker_and_limit_cost_a_forwarded_request_few_host_calls() {
    let calls = |settings: &str| {
        let mut envoy = Envoy::new(settings);
        // The first call leases places for those that follow.
        forwarded(envoy.get(&[], "200", &[], b""));
        envoy.host.host_calls.set(0);
        forwarded(envoy.get(&[], "200", &[], b""));
        envoy.host.host_calls.get()
    };
    let off = calls(r#"{"cache_enabled":false,"breaker":{"enabled":false},"concurrency":{"enabled":false}}"#);
    let limit = calls(r#"{"cache_enabled":false,"breaker":{"enabled":false}}"#);
    let both = calls(r#"{"cache_enabled":false}"#);
    assert_eq!(limit - off, 0, "places are leased by the handful");
    // One read when the call begins; one read and one write when it has ended.
    assert!(both - limit <= 3, "{}", both - limit);
}
