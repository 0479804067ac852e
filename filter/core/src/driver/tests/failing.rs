//! Upstreams and hosts that fail.

use super::*;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{Command, PurgeCommand};

/// The control plane purges everything, or marks it stale.
fn purge(envoy: &mut Envoy, soft: bool) {
    let purge = PurgeCommand {
        kind: Kind::All.into(),
        soft,
        ..PurgeCommand::default()
    };
    envoy.control(ToFilter::Command(Command {
        id: "1".to_owned(),
        body: Some(Body::Purge(purge)),
        ..Command::default()
    }));
}

/// An Envoy with its control plane, with one response that is stale by now.
fn with_stale(settings: &str) -> Envoy {
    let mut envoy = Envoy::new(settings);
    let response = [
        ("cache-control", "max-age=1, stale-if-error=600"),
        ("etag", "\"v1\""),
        ("content-type", "text/plain"),
    ];
    forwarded(envoy.get(&[], "200", &response, b"stale"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.control(ToFilter::Welcome(Welcome::default()));
    for _ in 0..20 {
        envoy.wait(100);
        envoy.vm.on_tick(&envoy.host, ROOT);
    }
    envoy
}

#[test]
fn what_is_purged_while_the_upstream_fails_is_not_served_in_its_place() {
    for (purged, soft, answered) in [(false, false, 1), (true, true, 1), (true, false, 0)] {
        let mut envoy = with_stale("{}");
        let (shared, flow) = begin(&mut envoy, 1);
        assert_eq!(flow, Flow::Continue);
        if purged {
            purge(&mut envoy, soft);
        }
        envoy.host.set_response(&[(":status", "503"), ("content-length", "0")]);
        envoy.host.set_property("response\0code_details", b"via_upstream");
        envoy
            .vm
            .on_response_headers(&envoy.host, &mut shared.borrow_mut(), 0, true);
        let replies = envoy.host.replies.borrow();
        assert_eq!(replies.len(), answered, "purged: {purged}, soft: {soft}");
        assert!(replies.iter().all(|reply| reply.body == b"stale"));
    }
}

#[test]
fn what_is_purged_while_a_request_waits_is_neither_validated_nor_served() {
    let settings = r#"{"max_connections":1,"concurrency":{"queue":8,"queue_timeout":"1s"},"request_collapsing":{"enabled":false}}"#;
    for purged in [false, true] {
        // Its turn comes.
        let mut envoy = with_stale(settings);
        let (first, flow) = begin(&mut envoy, 1);
        assert_eq!(flow, Flow::Continue);
        let (_second, flow) = begin(&mut envoy, 2);
        assert_eq!(flow, Flow::Pause);
        if purged {
            purge(&mut envoy, false);
        }
        finish(&mut envoy, &first, &UNCACHED, b"x");
        wake(&mut envoy);
        assert_eq!(envoy.host.resumed.get(), 1);
        assert_eq!(envoy.host.header(MapKind::Request, "if-none-match").is_some(), !purged);

        // It never comes.
        let mut envoy = with_stale(settings);
        let (_first, _) = begin(&mut envoy, 1);
        let (_second, _) = begin(&mut envoy, 2);
        if purged {
            purge(&mut envoy, false);
        }
        for _ in 0..12 {
            envoy.wait(100);
            envoy.vm.on_tick(&envoy.host, ROOT);
        }
        let replies = envoy.host.replies.borrow();
        assert_eq!(
            replies.last().map(|reply| reply.status),
            Some(if purged { 503 } else { 200 })
        );
    }
}

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
