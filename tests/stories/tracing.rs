//! Traces and metrics of the real control plane and the real Envoy, at a collector in this process.

use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::collector::{Collector, Seen};
use e2e::origin::{Origin, Received, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const SECRET: &str = "swordfish";

/// The field of a request in this trace, from a span that nobody here has.
fn traceparent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

fn trace(number: usize) -> String {
    format!("{:032x}", 0xabc0_0000_u64 + number as u64)
}

/// Trace and span that a request to the origin names.
fn told(request: &Received) -> (String, String) {
    let parts: Vec<&str> = request.header("traceparent").unwrap_or_default().split('-').collect();
    match parts.as_slice() {
        [_, trace, span, _] => ((*trace).to_owned(), (*span).to_owned()),
        _ => Default::default(),
    }
}

fn plan(collector: u16, xds: Option<Xds>) -> Plan {
    let fast = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Plan {
        xds,
        collector: Some(collector),
        environment: vec![
            fast("OTEL_BSP_SCHEDULE_DELAY", "100"),
            fast("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ],
        ..Plan::default()
    }
}

fn origin() -> Origin {
    Origin::start(|request| {
        // As an origin that repeats what it was told.
        let told = request.header("traceparent").unwrap_or("none").to_owned();
        let reply = Reply::ok("content")
            .header("traceparent", &told)
            .header("traceresponse", &told);
        match request.path.starts_with("/stale") {
            true => reply.header("cache-control", "max-age=1, stale-while-revalidate=60"),
            false => reply.max_age(600),
        }
    })
    .unwrap()
}

fn no_secrets(spans: &[Seen]) {
    for span in spans {
        for (name, value) in &span.attributes {
            assert!(!value.contains(SECRET) && !value.contains('?'), "{name} of {span:?}");
        }
    }
}

#[test]
fn what_an_operator_does_is_one_trace_up_to_the_envoys() {
    let collector = Collector::start().unwrap();
    let stack = Stack::start(&plan(collector.port(), None), origin()).unwrap();
    let send = |request: Request, number: usize| {
        let request = request
            .header("traceparent", traceparent(&trace(number)))
            .header("cookie", SECRET)
            .header("content-type", "application/json");
        let answer = stack.rest().send(&request).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let change = Request::new("PATCH", "/settings?wait=all&timeout=10s").body(r#"{"default_ttl": "7m"}"#);
    send(change, 1);
    let purge = Request::new("POST", "/cache/purge?wait=all&timeout=10s").body(format!(r#"{{"tag": "{SECRET}"}}"#));
    send(purge, 2);

    let of = |number: usize, name: &str| {
        let named = |span: &Seen| span.trace == trace(number) && span.name == name;
        collector.span(name, named).unwrap()
    };
    let request = of(1, "PATCH /settings");
    assert_eq!(
        (request.kind, request.parent.as_str(), request.service.as_str()),
        (SERVER, "00f067aa0ba902b7", "api-optimizer-control-plane")
    );
    assert_eq!(request.attribute("http.request.method"), "PATCH");
    assert_eq!(request.attribute("http.route"), "/settings");
    assert_eq!(request.attribute("http.response.status_code"), "200");
    let push = of(1, "settings.push");
    assert_eq!(push.parent, request.id);
    assert_eq!(push.attribute("optimizer.settings.accepted"), "true");
    assert!(!push.attribute("optimizer.envoy").is_empty());

    let request = of(2, "POST /cache/purge");
    let purge = of(2, "purge");
    assert_eq!(purge.parent, request.id);
    let said =
        ["targets", "envoys", "pending", "complete"].map(|name| purge.attribute(&format!("optimizer.purge.{name}")));
    assert_eq!(said, ["1", "1", "0", "true"]);
    let apply = of(2, "purge.apply");
    assert_eq!(apply.parent, purge.id);
    assert_eq!(apply.attribute("optimizer.purge.applied"), "true");
    no_secrets(&collector.spans());

    for name in [
        "api_optimizer_http_requests_total",
        "api_optimizer_http_request_duration_seconds",
        "api_optimizer_request_duration_seconds",
        "process_resident_memory_bytes",
    ] {
        wait::until(name, || collector.metric(name)).unwrap();
    }
}

#[test]
fn spans_of_requests_say_what_cache_and_breaker_did() {
    requests(None);
}

#[test]
fn an_envoy_of_the_control_plane_is_traced_as_well() {
    requests(Some(Xds::Delta));
}

fn requests(xds: Option<Xds>) {
    let collector = Collector::start().unwrap();
    let stack = Stack::start(&plan(collector.port(), xds), origin()).unwrap();
    let ask = |path: &str, number: usize| {
        let request = Request::get(&format!("{path}?key={SECRET}"));
        let request = request.header("traceparent", traceparent(&trace(number)));
        stack.envoy.fetch(&request.header("tracestate", "a=b")).unwrap()
    };
    let server = |number: usize| {
        let is = |span: &Seen| span.trace == trace(number) && span.kind == SERVER;
        collector.span("the span of a request", is).unwrap()
    };

    // A miss: a span for the client, and one for the call that the origin is told of.
    assert!(!ask("/page", 1).is_hit());
    let miss = server(1);
    assert_eq!(miss.service, "api-optimizer-envoy");
    assert_eq!(miss.parent, "00f067aa0ba902b7");
    assert!(
        miss.attribute("optimizer.cache_status").contains("fwd=uri-miss"),
        "{miss:?}"
    );
    assert!(miss.attribute("http.url").ends_with("/page"), "{miss:?}");
    assert_eq!(miss.attribute("http.status_code"), "200");
    assert_eq!(miss.attribute("optimizer.breaker"), "");
    let is_call = |span: &Seen| span.trace == trace(1) && span.kind == CLIENT;
    let call = collector.span("the span of a call", is_call).unwrap();
    assert_eq!(call.parent, miss.id);
    let asked = stack.origin.received();
    let asked = asked.iter().find(|request| request.path.starts_with("/page")).unwrap();
    assert_eq!(told(asked), (trace(1), call.id));

    // A hit, for another trace: the context is no part of the key, and nothing of the first one is in the answer.
    let answer = ask("/page", 2);
    assert!(answer.is_hit(), "{}", answer.cache_status());
    for name in ["traceparent", "tracestate", "traceresponse"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    let hit = server(2);
    assert!(hit.attribute("optimizer.cache_status").contains("; hit"), "{hit:?}");
    assert_eq!(stack.origin.count(&format!("/page?key={SECRET}")), 1);

    // A refresh is told the trace of the request that it comes from.
    let mut hits = BTreeMap::new();
    let mut number = 100;
    let refreshed = wait::until("a refresh in the trace of a hit", || {
        number += 1;
        hits.insert(trace(number), ask("/stale", number).is_hit());
        let asked = stack.origin.received();
        let mut asked = asked
            .iter()
            .filter(|request| request.path.starts_with("/stale"))
            .map(told);
        asked.find(|(trace, _)| hits.get(trace) == Some(&true))
    });
    let (of, parent) = refreshed.unwrap();
    // Envoy makes no span for it: it is a child of the client's.
    assert_eq!(parent, "00f067aa0ba902b7");
    let is = |span: &Seen| span.trace == of && span.kind == SERVER;
    let cause = collector.span("the span of the request that caused it", is).unwrap();
    assert!(cause.attribute("optimizer.cache_status").contains("; hit"), "{cause:?}");

    // A refusal of the breaker.
    wait::until("the breaker forced open", || {
        let forced = Request::new("POST", "/circuit-breaker/origin/force-open");
        (stack.rest().send(&forced).ok()?.status == 200).then_some(())
    })
    .unwrap();
    assert_eq!(ask("/shed", 3).status, 503);
    let shed = server(3);
    assert_eq!(shed.attribute("optimizer.breaker"), "open");
    assert!(shed.attribute("optimizer.cache_status").contains("breaker"), "{shed:?}");
    assert_eq!(shed.attribute("http.status_code"), "503");
    no_secrets(&collector.spans());
    if xds.is_some() {
        let pushed = |span: &Seen| span.name == "xds.push" && span.attribute("optimizer.xds.accepted") == "true";
        collector.span("configuration that Envoy accepted", pushed).unwrap();
    }
}

#[test]
fn a_collector_that_is_dead_or_silent_harms_nothing() {
    // Nobody takes a connection, and nobody reads from one.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for port in [free_port().unwrap(), silent.local_addr().unwrap().port()] {
        let mut plan = plan(port, None);
        plan.environment
            .push(("OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), "300".to_owned()));
        let mut stack = Stack::start(&plan, origin()).unwrap();
        stack.envoy.get("/page").unwrap();
        assert!(stack.envoy.get("/page").unwrap().is_hit());
        stack.change_settings(&json!({"default_ttl": "7m"})).unwrap();
        let complaints = |stack: &mut Stack| {
            let log = stack.control().process().unwrap().output();
            log.matches("the OpenTelemetry collector does not take what it is sent")
                .count()
        };
        // One for each signal, however often it fails.
        wait::until("what is wrong in the log", || {
            (complaints(&mut stack) == 2).then_some(())
        })
        .unwrap();
        for _ in 0..200 {
            assert_eq!(stack.rest().get("/health/live").unwrap().status, 200);
        }
        let process = stack.control().process().unwrap();
        process.terminate();
        let status = wait::until("its end", || process.ended()).unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(complaints(&mut stack), 2);
    }
}

#[test]
fn what_a_client_makes_long_is_short_in_a_span() {
    let collector = Collector::start().unwrap();
    let stack = Stack::start(&plan(collector.port(), None), origin()).unwrap();
    let long = "a".repeat(20_000);
    stack.origin.script(|_| {
        Reply::ok("content")
            .header("cache-status", "b".repeat(20_000))
            .max_age(600)
    });
    let request = Request::get(&format!("/page/{long}")).header("traceparent", traceparent(&trace(1)));
    assert_eq!(stack.envoy.fetch(&request).unwrap().status, 200);
    let is = |span: &Seen| span.trace == trace(1) && span.kind == SERVER;
    let span = collector.span("the span of a request", is).unwrap();
    assert!(span.attribute("http.url").contains("/page/aaa"), "{span:?}");
    let longest = span
        .attributes
        .iter()
        .map(|(name, value)| (value.len(), name.clone()))
        .max();
    assert!(
        longest.as_ref().is_some_and(|(length, _)| *length < 2_000),
        "{longest:?}"
    );
}
