//! What clients bring about, by time limits of their own or by content that does not come: it is theirs alone.

use super::*;
use crate::breaker::{BreakerPolicy, BreakerState, all};

const UPSTREAM_TIMEOUT: u64 = 1 << 2;
const TERMINATION: u64 = 1 << 6;
const LIMITS: [&str; 3] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
];

fn state(envoy: &mut Envoy) -> BreakerState {
    envoy.vm.on_tick(&envoy.host, ROOT);
    all(&envoy.host, &BreakerPolicy::default(), envoy.host.now_ms.get())
        .first()
        .map_or(BreakerState::Closed, |view| view.state)
}

/// A request that Envoy ends with a time-out after so long.
fn timed_out(envoy: &mut Envoy, more: &[(&str, &str)], after_ms: u64) {
    let shared = SharedExchange::default();
    let mut request = GET.to_vec();
    request.extend_from_slice(more);
    envoy.host.set_request(&request);
    assert_eq!(envoy.vm.on_request_headers(&envoy.host, &shared, 9), Flow::Continue);
    envoy.wait(after_ms);
    envoy
        .host
        .set_response(&[(":status", "504"), ("content-type", "text/plain")]);
    envoy.host.set_property("response\0code_details", b"response_timeout");
    envoy
        .host
        .set_property("response\0flags", &UPSTREAM_TIMEOUT.to_le_bytes());
    envoy
        .vm
        .on_response_headers(&envoy.host, &mut shared.borrow_mut(), 0, true);
    envoy.vm.on_end(&envoy.host, &shared);
}

#[test]
fn a_clients_own_time_limit_does_not_open_the_breaker() {
    let mut cases = vec![(None, 50, BreakerState::Open)];
    for name in LIMITS {
        cases.push((Some((name, "50")), 50, BreakerState::Closed));
        // What ends before it, ends by a limit of Envoy's own.
        cases.push((Some((name, "60000")), 50, BreakerState::Open));
        cases.push((Some((name, "0")), 50, BreakerState::Open));
    }
    for (limit, after_ms, expected) in cases {
        let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":5,"jitter_percent":0}}"#);
        let limit: Vec<_> = limit.into_iter().chain([("cache-control", "no-store")]).collect();
        for _ in 0..5 {
            timed_out(&mut envoy, &limit, after_ms);
        }
        assert_eq!(state(&mut envoy), expected, "{limit:?}");
    }
}

#[test]
fn nobody_waits_for_a_request_with_a_time_limit_of_its_own_nor_does_it_wait() {
    for name in LIMITS {
        let mut envoy = Envoy::new("{}");
        let limited = |envoy: &mut Envoy, context| {
            let shared = SharedExchange::default();
            envoy.host.set_request(&[&GET[..], &[(name, "5")]].concat());
            let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
            (shared, flow)
        };
        let (_first, flow) = limited(&mut envoy, 1);
        assert_eq!(flow, Flow::Continue);
        let (_leader, flow) = begin(&mut envoy, 2);
        assert_eq!(flow, Flow::Continue, "it leads itself");
        let (_follower, flow) = begin(&mut envoy, 3);
        assert_eq!(flow, Flow::Pause, "and others follow it");
        let (_other, flow) = limited(&mut envoy, 4);
        assert_eq!(flow, Flow::Continue, "{name}");
    }
}

#[test]
fn a_refresh_of_our_own_does_not_take_the_clients_limit_along() {
    let mut envoy = Envoy::new("{}");
    let stale = [
        ("cache-control", "max-age=1, stale-while-revalidate=600"),
        ("content-type", "text/plain"),
    ];
    let log = |envoy: &mut Envoy| {
        forwarded(envoy.get(&[], "200", &stale, b"content"));
    };
    log(&mut envoy);
    let pair = b"api\0all";
    let now_ms = envoy.host.now_ms.get();
    envoy.vm.learned.forwarding.learn(&envoy.host, pair, false, now_ms);
    envoy.wait(2_000);
    let more: Vec<_> = LIMITS
        .iter()
        .map(|name| (*name, "1"))
        .chain([("x-own", "kept")])
        .collect();
    replied(envoy.get(&more, "500", &[], b""));
    wake(&mut envoy);
    let calls = envoy.host.calls.borrow();
    let (_, sent) = calls.last().expect("a refresh is under way");
    let has = |wanted: &str| sent.iter().any(|(name, _)| name == wanted.as_bytes());
    assert!(has("x-own"));
    assert!(LIMITS.iter().all(|name| !has(name)), "{sent:?}");
}

#[test]
fn an_upstream_that_hangs_up_on_half_a_request_has_not_failed() {
    for (length, received, failures) in [
        (Some("1000"), 3_u64, 0),
        (Some("1000"), 999, 0),
        (Some("1000"), 1_000, 1),
        (Some("0"), 0, 1),
        (Some("many"), 0, 1),
        (None, 0, 1),
    ] {
        let mut envoy = Envoy::new("{}");
        let mut request = GET.to_vec();
        request[0] = (":method", "POST");
        request.extend(length.map(|length| ("content-length", length)));
        let shared = SharedExchange::default();
        envoy.host.set_request(&request);
        assert_eq!(envoy.vm.on_request_headers(&envoy.host, &shared, 9), Flow::Continue);
        envoy.host.set_property("request\0size", &received.to_le_bytes());
        envoy.host.set_property("response\0flags", &TERMINATION.to_le_bytes());
        let details = b"upstream_reset_before_response_started{connection_termination}";
        envoy.host.set_property("response\0code_details", details);
        envoy.vm.on_end(&envoy.host, &shared);
        envoy.vm.on_tick(&envoy.host, ROOT);
        let views = all(&envoy.host, &BreakerPolicy::default(), envoy.host.now_ms.get());
        let seen = views.first().map_or(0, |view| view.window.1);
        assert_eq!(seen, failures, "{length:?} {received}");
    }
}
