//! Streams, and everything else that is answered long before it ends.

use super::*;
use crate::breaker::{BreakerPolicy, BreakerState, View, all};

const NONE: u64 = 0;
const UPSTREAM_TIMEOUT: u64 = 1 << 2;
const REMOTE_RESET: u64 = 1 << 4;
const TERMINATION: u64 = 1 << 6;
const CLIENT_GONE: u64 = 1 << 14;
const IDLE: u64 = 1 << 16;
const PROTOCOL_ERROR: u64 = 1 << 23;

const CUT: &str = "upstream_reset_after_response_started{connection_termination}";
const GONE: &str = "downstream_remote_disconnect";

/// A response under way.
struct Stream(SharedExchange);

impl Envoy {
    fn begin(&mut self, request: &[(&str, &str)]) -> (Stream, Flow) {
        let shared = SharedExchange::default();
        self.host.set_request(request);
        let flow = self.vm.on_request_headers(&self.host, &shared, 9);
        (Stream(shared), flow)
    }

    fn head(&mut self, stream: &Stream, fields: &[(&str, &str)], end: bool) {
        self.host.set_response(fields);
        self.host.set_property("response\0code_details", b"via_upstream");
        self.host.set_property("response\0flags", &NONE.to_le_bytes());
        self.vm
            .on_response_headers(&self.host, &mut stream.0.borrow_mut(), 0, end);
    }

    fn body(&mut self, stream: &Stream, content: &[u8], end: bool) {
        *self.host.body.borrow_mut() = content.to_vec();
        self.vm
            .on_response_body(&self.host, &mut stream.0.borrow_mut(), content.len(), end);
    }

    fn trailers(&mut self, stream: &Stream, fields: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        *self.host.trailers.borrow_mut() = fields.iter().map(owned).collect();
        self.vm.on_response_trailers(&self.host, &mut stream.0.borrow_mut());
    }

    fn finish(&mut self, stream: &Stream, flags: u64, details: &str) {
        self.host.set_property("response\0flags", &flags.to_le_bytes());
        self.host.set_property("response\0code_details", details.as_bytes());
        self.vm.on_end(&self.host, &stream.0);
    }

    fn breaker(&mut self) -> View {
        self.vm.on_tick(&self.host, ROOT);
        all(&self.host, &BreakerPolicy::default(), self.host.now_ms.get()).remove(0)
    }
}

const SSE: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/event-stream; charset=utf-8")];
const SWITCHED: [(&str, &str); 3] = [(":status", "101"), ("connection", "upgrade"), ("upgrade", "websocket")];
const DOWNLOAD: [(&str, &str); 2] = [(":status", "200"), ("content-length", "1000000")];
const CHUNKED: [(&str, &str); 2] = [(":status", "200"), ("transfer-encoding", "chunked")];
const GRPC: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

fn upgrade() -> Vec<(&'static str, &'static str)> {
    let mut request = GET.to_vec();
    request.extend([("connection", "Upgrade"), ("upgrade", "websocket")]);
    request
}

fn grpc(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut request = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "api.example"),
        (":path", "/pets.Pets/Get"),
        ("content-type", "application/grpc"),
    ];
    request.extend_from_slice(more);
    request
}

#[test]
fn probes_are_decided_by_the_response_head() {
    for (request, head) in [
        (GET.to_vec(), &SSE[..]),
        (upgrade(), &SWITCHED[..]),
        (GET.to_vec(), &DOWNLOAD[..]),
        (GET.to_vec(), &CHUNKED[..]),
    ] {
        let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":5,"jitter_percent":0}}"#);
        for _ in 0..5 {
            forwarded(envoy.get(&[], "500", &[], b""));
        }
        assert_eq!(envoy.breaker().state, BreakerState::Open);
        envoy.wait(5_000);
        let streams: Vec<_> = (0..3)
            .map(|probe| {
                let path = format!("/probe/{probe}");
                let mut request = request.clone();
                if let Some(target) = request.iter_mut().find(|(name, _)| *name == ":path") {
                    target.1 = &path;
                }
                envoy.begin(&request).0
            })
            .collect();
        assert_eq!(
            (envoy.breaker().state, envoy.breaker().probes),
            (BreakerState::HalfOpen, 3)
        );
        let refusal = replied(envoy.get(&[("cache-control", "no-store")], "200", &[], b"not asked"));
        assert_eq!(refusal.status, 503, "three heads are waited for");
        for stream in &streams {
            envoy.head(stream, head, false);
        }
        assert_eq!(envoy.breaker().state, BreakerState::Closed, "{head:?}");
        forwarded(envoy.get(&[], "200", &[("cache-control", "no-store")], b"asked"));
        for stream in &streams {
            envoy.body(stream, b"data: 1", false);
            envoy.finish(stream, CLIENT_GONE, GONE);
        }
        assert_eq!(envoy.breaker().state, BreakerState::Closed);
        let (calls, failures, _) = envoy.breaker().window;
        assert_eq!((calls, failures), (1, 0), "a permit counts once");
    }
}

#[test]
fn what_may_happen_after_a_good_head() {
    // Request, head, bytes, flags and details of the end; failures among ten calls.
    for (request, head, bytes, flags, details, failures) in [
        (upgrade(), &SWITCHED[..], 9, TERMINATION, CUT, 0),
        (upgrade(), &SWITCHED[..], 9, UPSTREAM_TIMEOUT, "response_timeout", 0),
        (upgrade(), &SWITCHED[..], 0, IDLE, "stream_idle_timeout", 0),
        (upgrade(), &DOWNLOAD[..], 9, TERMINATION, CUT, 10),
        (GET.to_vec(), &SSE[..], 9, UPSTREAM_TIMEOUT, "response_timeout", 0),
        (GET.to_vec(), &SSE[..], 0, UPSTREAM_TIMEOUT, "response_timeout", 0),
        (GET.to_vec(), &SSE[..], 9, IDLE, "stream_idle_timeout", 0),
        (
            GET.to_vec(),
            &SSE[..],
            9,
            PROTOCOL_ERROR,
            "upstream_reset_after_response_started{protocol_error}",
            0,
        ),
        (GET.to_vec(), &SSE[..], 9, CLIENT_GONE, GONE, 0),
        (GET.to_vec(), &DOWNLOAD[..], 9, UPSTREAM_TIMEOUT, "response_timeout", 0),
        (GET.to_vec(), &DOWNLOAD[..], 0, UPSTREAM_TIMEOUT, "response_timeout", 10),
        (GET.to_vec(), &CHUNKED[..], 0, UPSTREAM_TIMEOUT, "response_timeout", 0),
        (GET.to_vec(), &DOWNLOAD[..], 9, CLIENT_GONE, GONE, 0),
        (GET.to_vec(), &DOWNLOAD[..], 9, TERMINATION, CUT, 10),
        (
            GET.to_vec(),
            &CHUNKED[..],
            9,
            PROTOCOL_ERROR,
            "upstream_reset_after_response_started{protocol_error}",
            10,
        ),
        (
            GET.to_vec(),
            &DOWNLOAD[..],
            9,
            REMOTE_RESET,
            "upstream_reset_after_response_started{remote_reset}",
            10,
        ),
    ] {
        let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":1000}}"#);
        for _ in 0..10 {
            let (stream, _) = envoy.begin(&request);
            envoy.head(&stream, head, false);
            if bytes > 0 {
                envoy.body(&stream, &vec![b'a'; bytes], false);
            }
            envoy.finish(&stream, flags, details);
        }
        assert_eq!(
            envoy.breaker().window,
            (10, failures, 0),
            "{request:?} {head:?} {details} {bytes}"
        );
    }
}

#[test]
fn a_call_is_counted_once_as_what_its_head_says() {
    let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":1000}}"#);
    let failed = [(":status", "503"), ("content-length", "1000")];
    for (flags, details) in [(TERMINATION, CUT), (CLIENT_GONE, GONE)] {
        let (stream, _) = envoy.begin(&GET);
        envoy.head(&stream, &failed, false);
        envoy.finish(&stream, flags, details);
    }
    assert_eq!(envoy.breaker().window, (2, 2, 0));
    // A client that leaves before the head says nothing.
    let (stream, _) = envoy.begin(&GET);
    envoy.finish(&stream, CLIENT_GONE, GONE);
    assert_eq!(envoy.breaker().window, (2, 2, 0));
}

#[test]
fn grpc_is_judged_by_its_status() {
    let deadline = ("grpc-timeout", "2S");
    // Request; message before the end; status of trailers, or how the stream was cut; calls and failures of ten.
    for (request, message, end, calls, failures) in [
        (grpc(&[]), true, Ok("0"), 10, 0),
        (grpc(&[]), false, Ok("14"), 10, 10),
        (grpc(&[]), true, Ok("13"), 10, 10),
        (grpc(&[]), false, Ok("2"), 10, 10),
        (grpc(&[]), false, Ok("15"), 10, 10),
        (grpc(&[]), false, Ok("4"), 10, 10),
        (grpc(&[deadline]), false, Ok("4"), 0, 0),
        (grpc(&[]), false, Ok("5"), 10, 0),
        (grpc(&[]), false, Ok("1"), 10, 0),
        (grpc(&[]), false, Ok("8"), 10, 0),
        (grpc(&[]), false, Ok("12"), 10, 0),
        (grpc(&[]), false, Ok("nonsense"), 10, 0),
        (grpc(&[]), true, Err((REMOTE_RESET, CUT)), 10, 10),
        (grpc(&[]), false, Err((REMOTE_RESET, CUT)), 10, 10),
        (grpc(&[]), false, Err((CLIENT_GONE, GONE)), 0, 0),
        (grpc(&[]), true, Err((CLIENT_GONE, GONE)), 10, 0),
        (grpc(&[]), true, Err((UPSTREAM_TIMEOUT, "response_timeout")), 10, 0),
        (grpc(&[]), false, Err((UPSTREAM_TIMEOUT, "response_timeout")), 10, 10),
        (
            grpc(&[deadline]),
            false,
            Err((UPSTREAM_TIMEOUT, "response_timeout")),
            0,
            0,
        ),
        (
            grpc(&[("grpc-timeout", "9S")]),
            false,
            Err((UPSTREAM_TIMEOUT, "response_timeout")),
            10,
            10,
        ),
    ] {
        let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":1000,"window":"60s"}}"#);
        let streams: Vec<_> = (0..10).map(|_| envoy.begin(&request).0).collect();
        envoy.wait(2_500);
        for stream in &streams {
            envoy.head(stream, &GRPC, false);
            if message {
                envoy.body(stream, b"message", false);
            }
            match end {
                Ok(status) => {
                    envoy.trailers(stream, &[("grpc-status", status)]);
                    envoy.finish(stream, NONE, "via_upstream");
                }
                Err((flags, details)) => envoy.finish(stream, flags, details),
            }
        }
        envoy.vm.on_tick(&envoy.host, ROOT);
        let views = all(
            &envoy.host,
            &BreakerPolicy {
                window_ms: 60_000,
                ..BreakerPolicy::default()
            },
            envoy.host.now_ms.get(),
        );
        let window = views.first().map_or((0, 0, 0), |view| view.window);
        assert_eq!(window, (calls, failures, 0), "{request:?} {message} {end:?}");
    }
}

#[test]
fn a_grpc_head_may_stand_for_the_trailers() {
    for (status, failures) in [("14", 10), ("0", 0), ("5", 0)] {
        let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":1000}}"#);
        for _ in 0..10 {
            let (stream, _) = envoy.begin(&grpc(&[]));
            let mut head = GRPC.to_vec();
            head.push(("grpc-status", status));
            envoy.head(&stream, &head, true);
            envoy.finish(&stream, NONE, "via_upstream");
        }
        assert_eq!(envoy.breaker().window, (10, failures, 0), "{status}");
    }
}

#[test]
fn a_grpc_stream_as_probe_is_decided_by_its_first_message() {
    let mut envoy = Envoy::new(r#"{"breaker":{"minimum_calls":5,"jitter_percent":0}}"#);
    for _ in 0..5 {
        forwarded(envoy.get(&[], "500", &[], b""));
    }
    envoy.wait(5_000);
    let streams: Vec<_> = (0..3).map(|_| envoy.begin(&grpc(&[])).0).collect();
    for stream in &streams {
        envoy.head(stream, &GRPC, false);
    }
    assert_eq!(
        envoy.breaker().state,
        BreakerState::HalfOpen,
        "a head alone says nothing"
    );
    for stream in &streams {
        envoy.body(stream, b"message", false);
    }
    assert_eq!(envoy.breaker().state, BreakerState::Closed);
}

#[test]
fn an_upgrade_is_neither_answered_from_the_cache_nor_waits_for_a_fetch() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"page"));
    for more in [
        &[("connection", "Upgrade"), ("upgrade", "websocket")][..],
        &[(":protocol", "websocket")],
    ] {
        let (_, cache_status) = forwarded(envoy.get(more, "101", &[], b""));
        assert_eq!(cache_status, "api-optimizer; fwd=bypass; detail=upgrade");
    }
    replied(envoy.get(&[], "500", &[], b"not asked"));
    let mut cold = Envoy::new("{}");
    let (_leader, flow) = cold.begin(&GET);
    assert_eq!(flow, Flow::Continue);
    assert_eq!(cold.begin(&GET).1, Flow::Pause, "follows");
    assert_eq!(cold.begin(&upgrade()).1, Flow::Continue);
    // What it is answered with is not stored either.
    let mut refused = Envoy::new("{}");
    let (stream, _) = refused.begin(&upgrade());
    let head = [
        (":status", "200"),
        ("content-length", "4"),
        ("cache-control", "max-age=60"),
    ];
    refused.head(&stream, &head, false);
    refused.body(&stream, b"page", true);
    refused.finish(&stream, NONE, "via_upstream");
    forwarded(refused.get(&[], "200", &[], b"asked"));
}

#[test]
fn an_endless_response_is_not_captured_and_holds_up_nobody() {
    let mut envoy = Envoy::new("{}");
    let (stream, _) = envoy.begin(&GET);
    assert_eq!(envoy.begin(&GET).1, Flow::Pause);
    let head = [
        (":status", "200"),
        ("content-type", "text/event-stream"),
        ("transfer-encoding", "chunked"),
        ("cache-control", "max-age=60"),
    ];
    envoy.head(&stream, &head, false);
    let told = envoy.host.header(MapKind::Response, "cache-status").unwrap();
    assert!(told.contains("detail=endless") && !told.contains("stored"), "{told}");
    assert_eq!(envoy.vm.capturing, 0);
    assert_eq!(envoy.begin(&GET).1, Flow::Continue, "known as not worth waiting for");
}

#[test]
fn a_body_that_flows_on_is_given_up() {
    let mut envoy = Envoy::new("{}");
    let (stream, _) = envoy.begin(&GET);
    let head = [
        (":status", "200"),
        ("transfer-encoding", "chunked"),
        ("cache-control", "max-age=600"),
    ];
    envoy.head(&stream, &head, false);
    envoy.body(&stream, b"one", false);
    assert!(envoy.vm.capturing > 0);
    envoy.wait(60_001);
    envoy.body(&stream, b"two", false);
    assert_eq!(envoy.vm.capturing, 0);
    envoy.body(&stream, b"", true);
    envoy.finish(&stream, NONE, "via_upstream");
    forwarded(envoy.get(&[], "200", &[], b"asked"));
}

#[test]
fn long_polls_alone_do_not_open_a_breaker_as_it_is_shipped() {
    let mut envoy = Envoy::new("{}");
    for _ in 0..25 {
        let (stream, _) = envoy.begin(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "api.example"),
            (":path", "/poll"),
        ]);
        envoy.wait(11_000);
        envoy.head(&stream, &[(":status", "200"), ("content-length", "0")], true);
        envoy.finish(&stream, NONE, "via_upstream");
    }
    let at_once: Vec<_> = (0..25).map(|_| envoy.begin(&upgrade()).0).collect();
    envoy.wait(55_000);
    for stream in &at_once {
        envoy.head(stream, &[(":status", "200"), ("content-length", "0")], true);
        envoy.finish(stream, NONE, "via_upstream");
    }
    let breaker = envoy.breaker();
    assert_eq!((breaker.state, breaker.window), (BreakerState::Closed, (25, 0, 0)));
}
