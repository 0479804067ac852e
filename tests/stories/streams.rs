//! Streams through the real Envoy: event streams, WebSockets, long polls, slow downloads, gRPC. An upstream that has answered is
//! well, however long the answer takes and however it ends.

use e2e::bootstrap::Part;
use e2e::client::{Connection, Request, Response};
use e2e::grpc_origin::GrpcOrigin;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::stream_origin::StreamOrigin;
use e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Routes: below `/timed` a second for the whole response; everywhere else none, and WebSockets but below `/plain`.
const ROUTES: &str = r#"- match: { prefix: "/timed" }
  route: { cluster: origin, timeout: 1s }
- match: { prefix: "/plain" }
  route: { cluster: origin, timeout: 0s, upgrade_configs: [{ upgrade_type: websocket, enabled: false }] }
- match: { prefix: "/" }
  route: { cluster: origin, timeout: 0s, upgrade_configs: [{ upgrade_type: websocket }] }"#;

/// Few calls trip it, and it tries again after a second.
fn quick() -> Value {
    json!({"breaker": {"window": "10m", "minimum_calls": 20, "open_wait": "1s", "open_wait_max": "1s", "jitter_percent": 0}})
}

fn started(port: u16, settings: &Value, more: &[(Part, &str)]) -> Stack {
    let mut parts = BTreeMap::from([(Part::Routes, ROUTES.to_owned())]);
    parts.extend(more.iter().map(|(part, yaml)| (*part, (*yaml).to_owned())));
    let plan = Plan {
        upstream_port: Some(port),
        parts,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::new(500)).unwrap()).unwrap();
    stack.change_settings(settings).unwrap();
    stack
}

fn streaming(settings: &Value) -> (StreamOrigin, Stack) {
    let origin = StreamOrigin::start().unwrap();
    let stack = started(origin.address().port(), settings, &[]);
    (origin, stack)
}

fn upgrade(path: &str) -> Request {
    Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A connection with the request sent.
fn asked(stack: &Stack, request: &Request) -> Connection {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    connection.send(&request.bytes()).unwrap();
    connection
}

/// A WebSocket that has been opened.
fn websocket(stack: &Stack) -> (Connection, Response) {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    let answer = connection.exchange(&upgrade("/ws")).unwrap();
    assert_eq!(answer.status, 101, "{}", answer.text());
    (connection, answer)
}

fn breaker(stack: &Stack) -> Value {
    stack.rest().document("/circuit-breaker/status").unwrap()["upstreams"]["origin"][0].clone()
}

/// The breaker once it has seen so many calls.
fn after_calls(stack: &Stack, calls: u64) -> Value {
    wait::until("the calls counted", || {
        Some(breaker(stack)).filter(|seen| seen["calls"].as_u64().is_some_and(|count| count >= calls))
    })
    .unwrap_or_else(|_| panic!("{calls} calls: {}", breaker(stack)))
}

fn trip(stack: &Stack, origin: &StreamOrigin) {
    origin.fail(true);
    wait::until("a refusal", || {
        (stack.envoy.get("/x").unwrap().status == 503).then_some(())
    })
    .unwrap();
    origin.fail(false);
}

/// Waits until probes may pass, without asking for anything.
fn wait_half_open(stack: &Stack) {
    wait::until("half-open", || (breaker(stack)["state"] == "half_open").then_some(())).unwrap();
}

#[test]
fn streams_as_probes_close_the_breaker_when_their_heads_have_come() {
    let (origin, stack) = streaming(&quick());
    for path in ["/events", "/ws", "/download", "/silent"] {
        trip(&stack, &origin);
        wait_half_open(&stack);
        let request = if path == "/ws" {
            upgrade(path)
        } else {
            Request::get(path)
        };
        let mut streams: Vec<_> = (0..3).map(|_| asked(&stack, &request)).collect();
        for stream in &mut streams {
            let head = String::from_utf8(stream.read_at_least(12).unwrap()).unwrap();
            assert!(
                head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 101"),
                "{path} {head}"
            );
        }
        for _ in 0..20 {
            assert_eq!(stack.envoy.get("/x").unwrap().status, 200, "{path}");
        }
        wait::until("the breaker closed", || {
            (breaker(&stack)["state"] == "closed").then_some(())
        })
        .unwrap();
        drop(streams);
    }
}

#[test]
fn long_polls_as_probes_make_room_for_others() {
    let (origin, stack) = streaming(&quick());
    trip(&stack, &origin);
    wait_half_open(&stack);
    let began = Instant::now();
    let polls: Vec<_> = (0..3).map(|_| asked(&stack, &Request::get("/poll"))).collect();
    let passed = wait::until("another probe let through", || {
        (stack.envoy.get("/x").unwrap().status == 200).then(|| began.elapsed())
    })
    .unwrap();
    assert!(
        passed < Duration::from_millis(2_500),
        "before any poll was answered: {passed:?}"
    );
    for mut poll in polls {
        assert_eq!(poll.response("GET").unwrap().status, 200);
    }
    wait::until("closed", || {
        (stack.envoy.get("/x").unwrap().status == 200 && breaker(&stack)["state"] == "closed").then_some(())
    })
    .unwrap();
}

#[test]
fn how_a_stream_ends_is_no_failure_of_the_upstream() {
    let (_origin, stack) = streaming(&quick());
    // Closed by the server first, and by the client first.
    for turn in 0..24 {
        let (mut socket, _) = websocket(&stack);
        if turn % 2 == 0 {
            socket.send(b"bye.").unwrap();
            assert_eq!(socket.read_at_least(4).unwrap(), b"bye.");
            assert!(socket.read_at_least(1).is_err(), "closed");
        }
    }
    // Cut by the time-out of the route while events flow; ended by the server without a last chunk; left by the client.
    for path in ["/timed/events", "/cut/events", "/events"] {
        let mut streams: Vec<_> = (0..22).map(|_| asked(&stack, &Request::get(path))).collect();
        for stream in &mut streams {
            stream.read_at_least(200).unwrap();
        }
        if path != "/events" {
            for stream in &mut streams {
                while stream.read_at_least(1).is_ok() {}
            }
        }
    }
    // The same for a download, though it is a pity.
    let mut downloads: Vec<_> = (0..22)
        .map(|_| asked(&stack, &Request::get("/timed/download")))
        .collect();
    for download in &mut downloads {
        while download.read_at_least(1).is_ok() {}
    }
    let seen = after_calls(&stack, 24 + 4 * 22);
    assert_eq!(
        (&seen["state"], &seen["calls"], &seen["failures"]),
        (&json!("closed"), &json!(112), &json!(0)),
        "{seen}"
    );
    assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    let errors = stack.rest().document("/metrics/errors").unwrap();
    assert_eq!(errors["errors_by_type"]["timeout"], 0, "{errors}");
    assert_eq!(errors["errors_by_type"]["reset"], 0, "{errors}");
}

#[test]
fn a_body_cut_short_and_a_head_alone_are_failures() {
    for path in ["/cut/download", "/timed/silent"] {
        let (_origin, stack) = streaming(&quick());
        let mut streams: Vec<_> = (0..20).map(|_| asked(&stack, &Request::get(path))).collect();
        for stream in &mut streams {
            while stream.read_at_least(1).is_ok() {}
        }
        let seen = wait::until("open", || {
            Some(breaker(&stack)).filter(|seen| seen["opened_on"]["calls"].as_u64().is_some())
        })
        .unwrap();
        assert_eq!(seen["opened_on"]["calls"], 20, "each counted once: {path} {seen}");
        assert!(seen["opened_on"]["failures"].as_u64().unwrap() >= 10, "{path} {seen}");
    }
}

#[test]
fn an_upgrade_passes_by_the_cache() {
    let (origin, stack) = streaming(&json!({}));
    assert_eq!(stack.envoy.get("/ws").unwrap().text(), "page");
    assert!(stack.envoy.get("/ws").unwrap().is_hit());
    let (mut socket, answer) = websocket(&stack);
    assert_eq!(answer.cache_status(), "fwd=bypass; detail=upgrade");
    socket.send(b"hello").unwrap();
    assert_eq!(socket.read_at_least(5).unwrap(), b"hello");
    assert!(stack.envoy.get("/ws").unwrap().is_hit());
    assert_eq!(origin.asked(), 2);
    // Nor does it wait for the fetch of a page.
    let purge = Request::new("POST", "/cache/purge?wait=all")
        .header("content-type", "application/json")
        .body(r#"{"all":true}"#);
    assert!(stack.rest().send(&purge).unwrap().status < 300);
    let mut page = asked(&stack, &Request::get("/ws"));
    let (_socket, _) = websocket(&stack);
    assert_eq!(page.response("GET").unwrap().text(), "page");
    // Where Envoy does not pass upgrades on, its refusal stands; where it takes the field away, the request is a usual one.
    assert_eq!(stack.envoy.fetch(&upgrade("/plain/x")).unwrap().status, 403);
    let h2c = Request::get("/ws")
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA");
    let answer = stack.envoy.fetch(&h2c).unwrap();
    assert!(answer.is_hit(), "{answer:?}");
}

#[test]
fn an_extended_connect_passes_by_the_cache_too() {
    let origin = StreamOrigin::start().unwrap();
    let stack = started(
        origin.address().port(),
        &json!({}),
        &[(Part::DownstreamHttp2, "allow_connect: true")],
    );
    assert_eq!(stack.envoy.get("/ws").unwrap().text(), "page");
    assert!(stack.envoy.get("/ws").unwrap().is_hit());
    let address = stack.envoy.address();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (status, told, echoed) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        while !send.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            send = send.ready().await.unwrap();
        }
        let request = axum::http::Request::builder()
            .method("CONNECT")
            .uri(format!("http://{address}/ws"))
            .extension(h2::ext::Protocol::from_static("websocket"))
            .body(())
            .unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        let response = response.await.unwrap();
        let told = response.headers()["cache-status"].to_str().unwrap().to_owned();
        body.send_data(axum::body::Bytes::from_static(b"hello"), false).unwrap();
        let status = response.status().as_u16();
        let echoed = response.into_body().data().await.unwrap().unwrap();
        (status, told, echoed)
    });
    assert_eq!(
        (status, told.as_str(), &echoed[..]),
        (200, "api-optimizer; fwd=bypass; detail=upgrade", &b"hello"[..])
    );
    assert!(stack.envoy.get("/ws").unwrap().is_hit());
}

#[test]
fn an_event_stream_holds_up_nobody_and_is_not_stored() {
    let (origin, stack) = streaming(&json!({}));
    let mut streams: Vec<_> = (0..8).map(|_| asked(&stack, &Request::get("/events"))).collect();
    let began = Instant::now();
    for stream in &mut streams {
        let seen = String::from_utf8(stream.read_at_least(400).unwrap()).unwrap();
        assert!(seen.contains("detail=endless") && seen.contains("data: 1"), "{seen}");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(origin.asked(), 8);
}

#[test]
fn a_quiet_upstream_does_not_look_shut_for_ever() {
    let (origin, stack) = streaming(&quick());
    let alert = || {
        let alerts = stack.rest().document("/alerts/active").unwrap();
        alerts
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["name"] == "circuit_breaker_open")
    };
    stack
        .change_settings(&json!({"breaker": {"open_wait": "20s", "open_wait_max": "20s"}}))
        .unwrap();
    trip(&stack, &origin);
    let asked = origin.asked();
    wait::until("the alert", || alert().then_some(())).unwrap();
    wait_half_open(&stack);
    let seen = breaker(&stack);
    assert_eq!(
        (&seen["ready_to_probe"], &seen["next_probe"], &seen["judged"]),
        (&json!(true), &json!(0), &json!("half_open")),
        "{seen}"
    );
    let health = stack.rest().document("/health").unwrap();
    let component = &health["components"]["circuit_breaker"];
    assert_eq!(
        (&component["status"], &component["reason"]),
        (&json!("healthy"), &json!("the next request tries origin")),
        "{health}"
    );
    // An alert ends when what raised it has been gone for a while.
    wait::until_within(Duration::from_secs(120), "the alert resolved", || {
        (!alert()).then_some(())
    })
    .unwrap();
    assert_eq!(origin.asked(), asked, "without a request");
    for _ in 0..4 {
        assert_eq!(stack.envoy.get("/x").unwrap().status, 200);
    }
    wait::until("closed", || (breaker(&stack)["state"] == "closed").then_some(())).unwrap();
}

fn grpc(stack: &Stack, path: &str, more: &[(&str, &str)]) -> Connection {
    let mut request = Request::new("POST", path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(*b"\0\0\0\0\x04pets");
    for (name, value) in more {
        request = request.header(name, value);
    }
    asked(stack, &request)
}

fn grpc_stack() -> (GrpcOrigin, Stack) {
    let origin = GrpcOrigin::start().unwrap();
    let http2 = [(Part::UpstreamHttp1, "http2_protocol_options: {}")];
    let stack = started(origin.address().port(), &quick(), &http2);
    (origin, stack)
}

#[test]
fn grpc_calls_are_judged_by_their_status() {
    // Path; a deadline of the client's; calls that count and failures of 40.
    let deadline = [("grpc-timeout", "5S")];
    for (path, more, calls, fails) in [
        ("/cut", &[][..], 20, true),
        ("/call/14", &[], 20, true),
        ("/call/13", &[], 20, true),
        ("/message/13", &[], 20, true),
        ("/only/14", &[], 20, true),
        ("/message/0", &[], 40, false),
        ("/call/5", &[], 40, false),
        ("/call/4", &deadline, 0, false),
    ] {
        let (_origin, stack) = grpc_stack();
        for _ in 0..40 {
            let answer = grpc(&stack, path, more).response("POST");
            if !fails {
                assert_eq!(answer.unwrap().status, 200, "{path}");
            }
        }
        // What is counted later than this is not waited for: a request of another kind ends the count.
        let seen = if fails {
            let seen = wait::until(&format!("open by {path}"), || {
                Some(breaker(&stack)).filter(|seen| seen["opened_on"]["calls"].as_u64().is_some())
            });
            seen.unwrap_or_else(|_| panic!("{path}: {}", breaker(&stack)))["opened_on"].clone()
        } else {
            assert_eq!(grpc(&stack, "/message/0", &[]).response("POST").unwrap().status, 200);
            after_calls(&stack, calls + 1)
        };
        let counted = if fails { calls } else { calls + 1 };
        let failures = if fails { counted } else { 0 };
        assert_eq!(
            (seen["calls"].as_u64(), seen["failures"].as_u64()),
            (Some(counted), Some(failures)),
            "{path} {seen}"
        );
    }
}

#[test]
fn grpc_streams_as_probes_close_the_breaker_with_their_first_message() {
    let (origin, stack) = grpc_stack();
    origin.fail(true);
    wait::until("open", || {
        let _ = grpc(&stack, "/message/0", &[]).response("POST");
        (breaker(&stack)["state"] == "open").then_some(())
    })
    .unwrap();
    origin.fail(false);
    wait_half_open(&stack);
    let mut streams: Vec<_> = (0..3).map(|_| grpc(&stack, "/stream", &[])).collect();
    for stream in &mut streams {
        assert!(stream.read_at_least(15).unwrap().starts_with(b"HTTP/1.1 200"));
        stream.read_at_least(9).unwrap();
    }
    for _ in 0..20 {
        let answer = grpc(&stack, "/message/0", &[]).response("POST").unwrap();
        assert!(answer.body.ends_with(b"pets"), "{answer:?}");
    }
    wait::until("closed", || (breaker(&stack)["state"] == "closed").then_some(())).unwrap();
}
