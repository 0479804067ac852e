//! Upstreams and hosts that fail.

use super::*;

#[test]
fn an_upstream_that_fails_trips_the_breaker_and_stale_bridges_it() {
    let mut envoy =
        Envoy::new(r#"{"breaker":{"minimum_calls":5},"freshness":{"max_stale_on_outage":"1h","stale_if_error":"1h"}}"#);
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    envoy.wait(61_000);
    let mut other = GET.to_vec();
    other[3] = (":path", "/fails");
    for _ in 0..5 {
        forwarded(envoy.ask(&other, "503", &[], b"oh"));
    }
    let shed = replied(envoy.ask(&other, "200", &[], b"not asked"));
    assert_eq!(shed.status, 503);
    assert!(
        shed.field("retry-after").is_some() && shed.field("proxy-status").is_some(),
        "{shed:?}"
    );
    let stale = replied(envoy.get(&[], "200", &FRESH, b"not asked"));
    assert_eq!((stale.status, stale.body.as_slice()), (200, &b"body"[..]));
    envoy.wait(10_000);
    for _ in 0..3 {
        forwarded(envoy.ask(&other, "200", &[], b"well"));
    }
    forwarded(envoy.ask(&other, "200", &[], b"closed again"));
}

#[test]
fn a_refused_client_is_told_to_come_back_no_later_than_set() {
    for (set, told) in [("", "60"), (r#""retry_after_max":"10s","#, "10")] {
        let mut envoy = Envoy::new(&format!(
            r#"{{"breaker":{{"minimum_calls":5,{set}"jitter_percent":0,"open_wait":"2m","open_wait_max":"2m"}}}}"#
        ));
        for _ in 0..5 {
            forwarded(envoy.get(&[], "503", &[], b""));
        }
        let shed = replied(envoy.get(&[], "200", &[], b"not asked"));
        assert_eq!((shed.status, shed.field("retry-after")), (503, Some(told)));
    }
}

#[test]
fn stale_while_revalidate_serves_at_once_and_refreshes_once() {
    let mut envoy = Envoy::new("{}");
    let swr = [
        ("cache-control", "max-age=10, stale-while-revalidate=60"),
        ("etag", "\"v1\""),
    ];
    forwarded(envoy.get(&[], "200", &swr, b"old"));
    envoy.wait(20_000);
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"old");
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"old");
    let queue = envoy.vm.queue;
    envoy.vm.on_wake(&envoy.host, ROOT, queue);
    assert_eq!(envoy.host.calls.borrow().len(), 1, "once for both");
    envoy.host.set_call_response(&[
        (":status", "200"),
        ("cache-control", "max-age=10, stale-while-revalidate=60"),
        ("etag", "\"v2\""),
        ("content-length", "3"),
    ]);
    *envoy.host.body.borrow_mut() = b"new".to_vec();
    envoy.vm.on_call_response(&envoy.host, 1, 3, 3);
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"new");
}

#[test]
fn a_host_that_fails_every_call_lets_every_request_pass() {
    let mut envoy = Envoy::new("{}");
    envoy.host.failing.set(true);
    envoy.host.map.fail_all(true);
    let shared = SharedExchange::default();
    assert_eq!(envoy.vm.on_request_headers(&envoy.host, &shared, 9), Flow::Continue);
    for end in [false, true] {
        let mut exchange = shared.borrow_mut();
        assert_eq!(
            envoy.vm.on_response_headers(&envoy.host, &mut exchange, 0, end),
            Flow::Continue
        );
        assert_eq!(
            envoy.vm.on_response_body(&envoy.host, &mut exchange, 10, end),
            Flow::Continue
        );
    }
    envoy.vm.on_end(&envoy.host, &shared);
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.vm.on_control_message(&envoy.host, ROOT, 77, 10);
    envoy.vm.on_call_response(&envoy.host, 1, 3, 3);
}
