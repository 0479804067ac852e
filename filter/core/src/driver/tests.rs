//! Scenarios through the driver on a host that records: what the client got, what the upstream was asked, what it cost.

mod routing;
mod streams;

use super::exchange::{Flow, SharedExchange};
use super::fake_host::{FakeHost, Replied};
use super::host::MapKind;
use super::vm::{RootId, Vm};
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{ControlMessage, FilterMessage, SettingsPush, TelemetryAck, Welcome};
use prost::Message;

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "api.example"),
    (":path", "/a?b=1"),
];
const ROOT: RootId = RootId(1);

struct Envoy {
    host: FakeHost,
    vm: Vm,
    /// How a response came about, as Envoy tells.
    details: &'static str,
}

/// What became of a request.
#[derive(Debug)]
enum Seen {
    Replied(Replied),
    Forwarded { status: String, cache_status: String },
}

impl Envoy {
    fn new(settings: &str) -> Self {
        let host = FakeHost::default();
        host.now_ms.set(1_700_000_000_000);
        host.set_property("xds\0cluster_name", b"api");
        let mut vm = Vm::new();
        vm.on_start(&host);
        let document = format!(r#"{{"control_cluster":"control","settings":{settings}}}"#);
        vm.on_configure(&host, ROOT, document.as_bytes());
        Self {
            host,
            vm,
            details: "via_upstream",
        }
    }

    fn wait(&mut self, ms: u64) {
        self.host.now_ms.set(self.host.now_ms.get() + ms);
    }

    /// A request whose upstream, if it is asked, answers as given.
    fn get(&mut self, more: &[(&str, &str)], status: &str, response: &[(&str, &str)], body: &[u8]) -> Seen {
        let mut request = GET.to_vec();
        request.extend_from_slice(more);
        self.ask(&request, status, response, body)
    }

    fn ask(&mut self, request: &[(&str, &str)], status: &str, response: &[(&str, &str)], body: &[u8]) -> Seen {
        let (host, vm) = (&self.host, &mut self.vm);
        host.replies.borrow_mut().clear();
        host.set_request(request);
        let shared = SharedExchange::default();
        let mut flow = vm.on_request_headers(host, &shared, 9);
        if flow == Flow::Continue {
            let length = body.len().to_string();
            let mut head = vec![(":status", status), ("content-length", length.as_str())];
            head.extend_from_slice(response);
            host.set_response(&head);
            host.set_property("response\0code_details", self.details.as_bytes());
            host.set_property("response\0flags", &0_u64.to_le_bytes());
            flow = vm.on_response_headers(host, &mut shared.borrow_mut(), 0, body.is_empty());
            if flow == Flow::Continue && !body.is_empty() {
                for chunk in body.chunks(5) {
                    *host.body.borrow_mut() = chunk.to_vec();
                    vm.on_response_body(host, &mut shared.borrow_mut(), chunk.len(), false);
                }
                vm.on_response_body(host, &mut shared.borrow_mut(), 0, true);
            }
        }
        vm.on_end(host, &shared, 9);
        if flow == Flow::Pause {
            return Seen::Replied(host.replies.borrow().last().cloned().unwrap());
        }
        Seen::Forwarded {
            status: host.header(MapKind::Response, ":status").unwrap(),
            cache_status: host.header(MapKind::Response, "cache-status").unwrap_or_default(),
        }
    }

    fn control(&mut self, body: ToFilter) {
        *self.host.incoming.borrow_mut() = ControlMessage { body: Some(body) }.encode_to_vec();
        let size = self.host.incoming.borrow().len();
        self.vm.on_control_message(&self.host, ROOT, 77, size);
    }

    fn said(&self) -> Vec<FromFilter> {
        let sent = std::mem::take(&mut *self.host.sent.borrow_mut());
        sent.iter()
            .filter_map(|bytes| FilterMessage::decode(bytes.as_slice()).unwrap().body)
            .collect()
    }
}

fn replied(seen: Seen) -> Replied {
    match seen {
        Seen::Replied(reply) => reply,
        Seen::Forwarded { .. } => panic!("forwarded: {seen:?}"),
    }
}

fn forwarded(seen: Seen) -> (String, String) {
    match seen {
        Seen::Forwarded { status, cache_status } => (status, cache_status),
        Seen::Replied(_) => panic!("answered: {seen:?}"),
    }
}

const FRESH: [(&str, &str); 3] = [
    ("cache-control", "max-age=60"),
    ("etag", "\"v1\""),
    ("content-type", "text/plain"),
];

#[test]
fn a_miss_is_stored_and_the_next_request_is_a_hit() {
    let mut envoy = Envoy::new("{}");
    let (status, cache_status) = forwarded(envoy.get(&[], "200", &FRESH, b"hello world"));
    // On a route without a name it is not known yet how requests leave Envoy, so nothing is promised.
    assert_eq!(
        (status.as_str(), cache_status.as_str()),
        ("200", "api-optimizer; fwd=uri-miss")
    );
    envoy.wait(3_000);
    envoy.host.host_calls.set(0);
    let hit = replied(envoy.get(&[], "500", &[], b"not asked"));
    assert_eq!(
        (hit.status, hit.body.as_slice(), hit.field("age")),
        (200, &b"hello world"[..], Some("3"))
    );
    assert!(
        hit.field("cache-status")
            .unwrap()
            .starts_with("api-optimizer; hit; ttl=57"),
        "{hit:?}"
    );
    // Request: clock, header map, cluster, route, the page with its version, slot, the reply. End: clock. One request in eight is asked for its
    // protocol besides, and has its time inside the filter taken by another look at the clock.
    assert!(
        envoy.host.host_calls.get() <= 9,
        "host calls of a hit: {}",
        envoy.host.host_calls.get()
    );
    // From now on this worker keeps it, and its page: that page's version alone is read, which moves nothing into the VM.
    replied(envoy.get(&[], "500", &[], b"not asked"));
    envoy.host.host_calls.set(0);
    let reads = envoy.host.map.reads();
    assert_eq!(replied(envoy.get(&[], "500", &[], b"not asked")).body, b"hello world");
    assert!(envoy.host.host_calls.get() <= 7, "{}", envoy.host.host_calls.get());
    assert_eq!(envoy.host.map.reads(), reads);
}

#[test]
fn a_forwarded_request_costs_few_host_calls() {
    let mut envoy = Envoy::new("{}");
    let no_store = [("cache-control", "no-store"), ("x-envoy-upstream-service-time", "3")];
    envoy.host.set_property("upstream\0local_address", b"10.0.0.1:40000");
    for _ in 0..300 {
        forwarded(envoy.get(&[], "200", &no_store, b"x"));
    }
    envoy.host.host_calls.set(0);
    let reads = envoy.host.map.reads();
    forwarded(envoy.get(&[], "200", &no_store, b"x"));
    // Request: clock, header map, version of the page, cluster, version of the breaker, one field. Response: clock, header map, one
    // field. End: clock. One request in eight has two more looks at the clock, and is asked for its protocol and local address.
    assert!(envoy.host.host_calls.get() <= 14, "{}", envoy.host.host_calls.get());
    assert_eq!(envoy.host.map.reads(), reads, "no value is moved");
}

#[test]
fn a_line_that_would_split_a_response_is_not_stored_with_it() {
    let mut envoy = Envoy::new("{}");
    let mut head = FRESH.to_vec();
    head.push(("x-note", "a\r\nset-cookie: b=c"));
    forwarded(envoy.get(&[], "200", &head, b"first"));
    for _ in 0..3 {
        let hit = replied(envoy.get(&[], "500", &[], b""));
        assert_eq!((hit.field("x-note"), hit.field("set-cookie")), (None, None));
    }
}

#[test]
fn what_only_looks_like_the_upstreams_is_not_stored() {
    let mut envoy = Envoy::new("{}");
    let mut head = FRESH.to_vec();
    head.push(("x-envoy-upstream-service-time", "3"));
    envoy.details = "direct_response";
    let (_, cache_status) = forwarded(envoy.get(&[], "200", &head, b"another filter's"));
    assert!(!cache_status.contains("stored"), "{cache_status}");
    envoy.details = "via_upstream";
    let (_, cache_status) = forwarded(envoy.get(&[], "200", &head, b"the upstream's"));
    assert!(cache_status.contains("stored"), "{cache_status}");
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"the upstream's");
}

#[test]
fn what_a_worker_keeps_is_not_served_after_it_was_replaced_or_purged() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"one"));
    for _ in 0..3 {
        assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"one");
    }
    let no_cache = [("cache-control", "no-cache")];
    forwarded(envoy.get(&no_cache, "200", &FRESH, b"two"));
    for _ in 0..3 {
        assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"two");
    }
    // Another worker discards it: only shared data tells.
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    let mut other = Vm::new();
    other.on_start(&envoy.host);
    other.on_configure(&envoy.host, ROOT, br#"{"control_cluster":"control","settings":{}}"#);
    std::mem::swap(&mut envoy.vm, &mut other);
    forwarded(envoy.ask(&post, "200", &[], b"done"));
    std::mem::swap(&mut envoy.vm, &mut other);
    forwarded(envoy.get(&[], "200", &FRESH, b"three"));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"three");
}

#[test]
fn what_may_not_be_stored_is_asked_for_each_time() {
    for response in [
        [("cache-control", "no-store")],
        [("cache-control", "private, max-age=60")],
        [("vary", "*")],
    ] {
        let mut envoy = Envoy::new("{}");
        for body in [&b"one"[..], b"two"] {
            let (_, cache_status) = forwarded(envoy.get(&[], "200", &response, body));
            assert!(
                cache_status.contains("fwd=uri-miss") && !cache_status.contains("stored"),
                "{cache_status}"
            );
        }
    }
}

#[test]
fn an_incomplete_body_is_never_stored() {
    let mut envoy = Envoy::new("{}");
    let mut response = FRESH.to_vec();
    response.push(("content-length", "999"));
    forwarded(envoy.ask(&GET, "200", &response, b"short"));
    forwarded(envoy.get(&[], "200", &FRESH, b"whole"));
}

#[test]
fn stale_is_validated_and_a_304_makes_it_fresh() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    envoy.wait(61_000);
    let reply = replied(envoy.get(&[], "304", &[("etag", "\"v1\""), ("cache-control", "max-age=60")], b""));
    assert_eq!(
        envoy.host.header(MapKind::Request, "if-none-match").as_deref(),
        Some("\"v1\"")
    );
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"body"[..]));
    assert!(
        reply
            .field("cache-status")
            .unwrap()
            .contains("fwd=stale; fwd-status=304"),
        "{reply:?}"
    );
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"body");
}

#[test]
fn content_without_a_type_is_fetched_again_and_not_validated() {
    // In place of a 304 Envoy would give it a type.
    let mut envoy = Envoy::new("{}");
    let untyped = [("cache-control", "max-age=60"), ("etag", "\"v1\"")];
    forwarded(envoy.get(&[], "200", &untyped, b"body"));
    envoy.wait(61_000);
    let (status, _) = forwarded(envoy.get(&[], "200", &untyped, b"body"));
    assert_eq!(status, "200");
    assert_eq!(envoy.host.header(MapKind::Request, "if-none-match"), None);
    // The client's own condition goes as it came.
    envoy.wait(61_000);
    let (status, _) = forwarded(envoy.get(&[("if-none-match", "\"v0\"")], "304", &[], b""));
    assert_eq!(
        (
            status.as_str(),
            envoy.host.header(MapKind::Request, "if-none-match").as_deref()
        ),
        ("304", Some("\"v0\""))
    );
}

#[test]
fn stored_is_said_only_of_what_will_be() {
    let mut envoy = Envoy::new(r#"{"max_object_size": 2048}"#);
    // Known by then: requests leave Envoy as they came.
    forwarded(envoy.get(&[], "200", &UNCACHED, b""));
    let told = |seen: Seen| forwarded(seen).1;
    let long = [b'x'; 3_000];
    assert_eq!(
        told(envoy.get(&[], "200", &FRESH, &long)),
        "api-optimizer; fwd=uri-miss; detail=too-large"
    );
    // The end of a chunked body comes after the head: it may be too large, and it may be small enough.
    let mut chunked = FRESH.to_vec();
    chunked.push(("transfer-encoding", "chunked"));
    for body in [&long[..], b"short"] {
        assert_eq!(
            told(envoy.get(&[], "200", &chunked, body)),
            "api-optimizer; fwd=uri-miss; detail=length-unknown"
        );
    }
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"short");
    let mut other = GET.to_vec();
    other[3] = (":path", "/other");
    let known = told(envoy.ask(&other, "200", &FRESH, b"short"));
    assert_eq!(known, "api-optimizer; fwd=uri-miss; stored");
}

#[test]
fn an_unsafe_method_invalidates() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    let (_, cache_status) = forwarded(envoy.ask(&post, "200", &[], b"done"));
    assert!(cache_status.contains("fwd=method"), "{cache_status}");
    forwarded(envoy.get(&[], "200", &FRESH, b"new"));
}

#[test]
fn a_post_that_brings_its_own_representation_is_stored_for_get() {
    let mut envoy = Envoy::new("{}");
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    let mut response = FRESH.to_vec();
    response.push(("content-location", "/a?b=1"));
    // Known by then: requests leave Envoy as they came.
    forwarded(envoy.get(&[], "200", &UNCACHED, b""));
    forwarded(envoy.ask(&post, "200", &response, b"posted"));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"posted");
    response[2] = ("content-location", "/elsewhere");
    forwarded(envoy.ask(&post, "200", &response, b"posted"));
    forwarded(envoy.get(&[], "200", &[], b""));
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
fn a_vm_that_has_not_ticked_yet_serves_on_the_settings_that_were_acknowledged() {
    let mut envoy = Envoy::new("{}");
    // Another VM of this Envoy has taken a push over, and acknowledged it for all it knew of.
    let push = SettingsPush {
        revision: 5,
        document: br#"{"default_ttl":"60s"}"#.to_vec(),
        epoch: "e".to_owned(),
    };
    assert!(super::settings_cell::publish(&envoy.host, &push));
    forwarded(envoy.get(&[], "200", &[], b"x"));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"x");
}

#[test]
fn settings_are_pushed_adopted_and_acknowledged_while_the_store_stays_warm() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert!(matches!(envoy.said().first(), Some(FromFilter::Hello(_))));
    envoy.control(ToFilter::Welcome(Welcome::default()));
    let push = |revision, document: &str| {
        ToFilter::Settings(SettingsPush {
            revision,
            document: document.as_bytes().to_vec(),
            epoch: "e".to_owned(),
        })
    };
    envoy.control(push(2, r#"{"default_ttl":"15m"}"#));
    let said = envoy.said();
    assert!(
        matches!(&said[..], [FromFilter::SettingsAck(ack)] if ack.accepted && ack.revision == 2),
        "{said:?}"
    );
    assert_eq!(envoy.vm.policies.route(b"x", b"/").freshness.default_ttl_ms, 900_000);
    envoy.control(push(3, r#"{"default_ttl":"soon","cache_size":0}"#));
    let said = envoy.said();
    assert!(
        matches!(&said[..], [FromFilter::SettingsAck(ack)] if !ack.accepted && ack.violations.len() == 2),
        "{said:?}"
    );
    envoy.control(push(1, r#"{"default_ttl":"1s"}"#));
    assert_eq!(
        envoy.vm.in_force.revision, 2,
        "older ones and refused ones change nothing"
    );
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"body");
}

#[test]
fn telemetry_is_sent_until_acknowledged_and_counts_every_request() {
    let mut envoy = Envoy::new("{}");
    envoy.vm.on_tick(&envoy.host, ROOT);
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    replied(envoy.get(&[], "500", &[], b""));
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert!(
        !envoy.said().iter().any(|body| matches!(body, FromFilter::Telemetry(_))),
        "nobody listens yet"
    );
    envoy.control(ToFilter::Welcome(Welcome::default()));
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    let reports = |envoy: &Envoy| {
        let said = envoy.said().into_iter();
        said.filter_map(|body| match body {
            FromFilter::Telemetry(report) => Some(report),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    let first = reports(&envoy).remove(0);
    let requests: u64 = first
        .delta
        .as_ref()
        .unwrap()
        .requests
        .iter()
        .map(|series| series.count)
        .sum();
    assert_eq!(requests, 2);
    assert_eq!(
        optimizer_proto::telemetry::check_report(&first, envoy.host.now_ms.get()),
        Ok(())
    );
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert!(reports(&envoy).is_empty(), "one report under way at a time");
    envoy.control(ToFilter::TelemetryAck(TelemetryAck {
        sequence: first.sequence,
    }));
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert_eq!(reports(&envoy)[0].sequence, first.sequence + 1);
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
    envoy.vm.on_end(&envoy.host, &shared, 9);
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.vm.on_control_message(&envoy.host, ROOT, 77, 10);
    envoy.vm.on_call_response(&envoy.host, 1, 3, 3);
    envoy.vm.on_root_done(&envoy.host, ROOT);
}

#[test]
fn two_vms_share_the_cache() {
    let mut first = Envoy::new("{}");
    forwarded(first.get(&[], "200", &FRESH, b"body"));
    let host = FakeHost {
        map: std::rc::Rc::clone(&first.host.map),
        ..FakeHost::default()
    };
    host.now_ms.set(first.host.now_ms.get());
    host.set_property("xds\0cluster_name", b"api");
    let mut second = Envoy {
        host,
        vm: Vm::new(),
        details: "via_upstream",
    };
    second.vm.on_start(&second.host);
    second.vm.on_configure(&second.host, ROOT, b"{}");
    assert_eq!(replied(second.get(&[], "500", &[], b"")).body, b"body");
}

/// A GET that is left under way.
fn begin(envoy: &mut Envoy, context: u32) -> (SharedExchange, Flow) {
    let shared = SharedExchange::default();
    envoy.host.set_request(&GET);
    let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
    (shared, flow)
}

fn finish(envoy: &mut Envoy, shared: &SharedExchange, context: u32, response: &[(&str, &str)], body: &[u8]) {
    let (host, vm) = (&envoy.host, &mut envoy.vm);
    let length = body.len().to_string();
    let mut head = vec![(":status", "200"), ("content-length", length.as_str())];
    head.extend_from_slice(response);
    host.set_response(&head);
    host.set_property("response\0code_details", b"via_upstream");
    vm.on_response_headers(host, &mut shared.borrow_mut(), 0, false);
    *host.body.borrow_mut() = body.to_vec();
    vm.on_response_body(host, &mut shared.borrow_mut(), body.len(), true);
    vm.on_end(host, shared, context);
    let queue = vm.queue;
    vm.on_wake(host, ROOT, queue);
}

#[test]
fn followers_get_the_leaders_response() {
    let mut envoy = Envoy::new("{}");
    let (leader, flow) = begin(&mut envoy, 1);
    assert_eq!(flow, Flow::Continue);
    let followers: Vec<_> = (2..10).map(|context| begin(&mut envoy, context)).collect();
    assert!(followers.iter().all(|(_, flow)| *flow == Flow::Pause), "they wait");
    finish(&mut envoy, &leader, 1, &FRESH, b"body");
    let replies = envoy.host.replies.borrow();
    assert_eq!(replies.len(), 8);
    assert!(replies.iter().all(|reply| reply.body == b"body"));
    assert!(
        replies[0].field("cache-status").unwrap().contains("collapsed"),
        "{:?}",
        replies[0]
    );
    assert_eq!(envoy.host.resumed.get(), 0);
}

#[test]
fn a_crowd_is_released_a_few_in_each_callback() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let _followers: Vec<_> = (2..52).map(|context| begin(&mut envoy, context)).collect();
    finish(&mut envoy, &leader, 1, &FRESH, b"body");
    let queue = envoy.vm.queue;
    let mut released = 0;
    for _ in 0..50 {
        let now = envoy.host.replies.borrow().len();
        assert!(now - released <= 16, "{} in one callback", now - released);
        released = now;
        envoy.vm.on_wake(&envoy.host, ROOT, queue);
    }
    assert_eq!(released, 50);
}

#[test]
fn followers_of_what_cannot_be_shared_go_on_their_own_and_nobody_waits_again() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (_, flow) = begin(&mut envoy, 2);
    assert_eq!(flow, Flow::Pause);
    finish(&mut envoy, &leader, 1, &[("cache-control", "no-store")], b"body");
    assert_eq!((envoy.host.resumed.get(), envoy.host.replies.borrow().len()), (1, 0));
    assert_eq!(begin(&mut envoy, 3).1, Flow::Continue, "known not to be shareable");
}

#[test]
fn a_leader_whose_client_goes_away_promotes_a_follower() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (second, _) = begin(&mut envoy, 2);
    let (_, flow) = begin(&mut envoy, 3);
    assert_eq!(flow, Flow::Pause);
    envoy.host.set_property("response\0flags", &(1_u64 << 14).to_le_bytes());
    envoy.vm.on_end(&envoy.host, &leader, 1);
    let queue = envoy.vm.queue;
    envoy.vm.on_wake(&envoy.host, ROOT, queue);
    assert_eq!(envoy.host.resumed.get(), 1, "one of them, the other still waits");
    finish(&mut envoy, &second, 2, &FRESH, b"body");
    assert_eq!(envoy.host.replies.borrow().len(), 1);
}

/// Ends the fetch of a request with this answer of the upstream.
fn answered(envoy: &mut Envoy, shared: &SharedExchange, context: u32, status: &str, response: &[(&str, &str)]) {
    let host = &envoy.host;
    let mut head = vec![(":status", status), ("content-length", "4")];
    head.extend_from_slice(response);
    host.set_response(&head);
    host.set_property("response\0code_details", b"via_upstream");
    envoy.vm.on_response_headers(host, &mut shared.borrow_mut(), 0, false);
    *host.body.borrow_mut() = b"body".to_vec();
    envoy.vm.on_response_body(host, &mut shared.borrow_mut(), 4, true);
    envoy.vm.on_end(host, shared, context);
    wake(envoy);
}

fn wake(envoy: &mut Envoy) {
    let queue = envoy.vm.queue;
    for _ in 0..8 {
        envoy.vm.on_wake(&envoy.host, ROOT, queue);
    }
}

#[test]
fn a_silent_fetch_gets_one_of_its_followers_beside_it_and_the_first_answers_all() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (gone, _) = begin(&mut envoy, 2);
    let (second, _) = begin(&mut envoy, 3);
    let _waits: Vec<_> = (4..8).map(|context| begin(&mut envoy, context)).collect();
    envoy.vm.on_end(&envoy.host, &gone, 2);
    envoy.wait(5_001);
    for _ in 0..3 {
        envoy.vm.on_tick(&envoy.host, ROOT);
    }
    assert_eq!(envoy.host.resumed.get(), 1, "one alone, whose client is still there");
    answered(&mut envoy, &second, 3, "200", &FRESH);
    assert_eq!((envoy.host.resumed.get(), envoy.host.replies.borrow().len()), (1, 4));
    answered(&mut envoy, &leader, 1, "200", &FRESH);
    assert_eq!(envoy.host.replies.borrow().len(), 4, "nobody is answered twice");
}

#[test]
fn what_needs_validation_answers_those_who_asked_before_it_came_and_nobody_else() {
    for control in ["no-cache", "max-age=0, must-revalidate", "", "max-age=60"] {
        let mut envoy = Envoy::new("{}");
        let (leader, _) = begin(&mut envoy, 1);
        let _followers: Vec<_> = (2..12).map(|context| begin(&mut envoy, context)).collect();
        envoy.wait(500);
        let age = if control == "max-age=60" { "60" } else { "0" };
        let response = [("etag", "\"e\""), ("cache-control", control), ("age", age)];
        answered(&mut envoy, &leader, 1, "200", &response);
        assert_eq!(
            (envoy.host.resumed.get(), envoy.host.replies.borrow().len()),
            (0, 10),
            "{control}: all at once by one fetch"
        );
        let (_, flow) = begin(&mut envoy, 20);
        assert_eq!(flow, Flow::Continue, "{control}: whoever comes later validates");
        assert_eq!(envoy.host.replies.borrow().len(), 10);
    }
}

#[test]
fn followers_with_other_selecting_fields_go_at_once_and_the_next_crowd_does_not_wait() {
    let mut envoy = Envoy::new("{}");
    let tenant = |envoy: &mut Envoy, context: u32, path: &str, tenant: &str| {
        envoy
            .host
            .set_request(&[GET[0], GET[1], GET[2], (":path", path), ("x-tenant", tenant)]);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
        (shared, flow)
    };
    let (leader, _) = tenant(&mut envoy, 1, "/one", "t0");
    let waiting: Vec<_> = (2..10)
        .map(|context| tenant(&mut envoy, context, "/one", &format!("t{context}")))
        .collect();
    assert!(waiting.iter().all(|(_, flow)| *flow == Flow::Pause));
    let varies = [("cache-control", "max-age=60"), ("vary", "x-tenant")];
    answered(&mut envoy, &leader, 1, "200", &varies);
    assert_eq!(envoy.host.resumed.get(), 8, "none waits for another again");
    let cold: Vec<_> = (20..28)
        .map(|context| tenant(&mut envoy, context, "/two", &format!("t{context}")))
        .collect();
    assert!(
        cold.iter().all(|(_, flow)| *flow == Flow::Continue),
        "responses of this route vary by tenant"
    );
    let (_, flow) = tenant(&mut envoy, 30, "/two", "t20");
    assert_eq!(flow, Flow::Pause, "the same tenant follows");
}

#[test]
fn nobody_waits_on_a_route_where_waiting_was_in_vain_until_something_is_stored() {
    let mut envoy = Envoy::new("{}");
    let ask = |envoy: &mut Envoy, context: u32, path: &str| {
        envoy.host.set_request(&[GET[0], GET[1], GET[2], (":path", path)]);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
        (shared, flow)
    };
    let private = [("cache-control", "private")];
    // Alone: that nobody could have followed it tells nothing of those who would.
    let (alone, _) = ask(&mut envoy, 1, "/one");
    answered(&mut envoy, &alone, 1, "200", &private);
    let (leader, _) = ask(&mut envoy, 2, "/two");
    assert_eq!(ask(&mut envoy, 3, "/two").1, Flow::Pause);
    answered(&mut envoy, &leader, 2, "200", &private);
    let _first = ask(&mut envoy, 4, "/three");
    let (second, flow) = ask(&mut envoy, 5, "/three");
    assert_eq!(flow, Flow::Continue, "it would wait in vain");
    // One response to store, and a crowd costs one fetch again.
    answered(&mut envoy, &second, 5, "200", &FRESH);
    let _leader = ask(&mut envoy, 6, "/four");
    assert_eq!(ask(&mut envoy, 7, "/four").1, Flow::Pause);
}

#[test]
fn what_varies_is_known_though_nothing_is_stored() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    answered(
        &mut envoy,
        &leader,
        1,
        "200",
        &[("cache-control", "max-age=0"), ("vary", "x-tenant")],
    );
    for tenant in ["a", "b"] {
        envoy
            .host
            .set_request(&[GET[0], GET[1], GET[2], (":path", "/other"), ("x-tenant", tenant)]);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, 2);
        assert_eq!(flow, Flow::Continue, "{tenant}");
    }
}

#[test]
fn a_fetch_that_fails_is_tried_once_more_and_that_answers_all() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (second, _) = begin(&mut envoy, 2);
    let _others: Vec<_> = (3..53).map(|context| begin(&mut envoy, context)).collect();
    answered(&mut envoy, &leader, 1, "500", &[]);
    assert_eq!(envoy.host.resumed.get(), 1, "one tries again");
    answered(&mut envoy, &second, 2, "502", &[]);
    assert_eq!(envoy.host.resumed.get(), 1, "nobody tries a third time");
    let replies = envoy.host.replies.borrow();
    assert_eq!(replies.len(), 50);
    assert!(replies.iter().all(|reply| reply.status == 502));
    assert!(
        replies[0].field("cache-status").unwrap().contains("collapsed-failure"),
        "{:?}",
        replies[0]
    );
}

#[test]
fn something_stale_answers_the_followers_of_a_failure_at_once() {
    let mut envoy = Envoy::new("{}");
    let stale = [("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"e\"")];
    envoy.get(&[], "200", &stale, b"body");
    envoy.wait(2_000);
    let (leader, _) = begin(&mut envoy, 1);
    let _followers: Vec<_> = (2..12).map(|context| begin(&mut envoy, context)).collect();
    let before = envoy.host.replies.borrow().len();
    answered(&mut envoy, &leader, 1, "500", &[]);
    assert_eq!(envoy.host.resumed.get(), 0, "nobody asks again");
    let replies = envoy.host.replies.borrow();
    assert_eq!(replies.len() - before, 11, "the leader and all who waited");
    assert!(replies[before..].iter().all(|reply| reply.body == b"body"));
}

#[test]
fn a_fetch_that_ends_without_a_response_of_its_own_lets_all_go() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let _followers: Vec<_> = (2..12).map(|context| begin(&mut envoy, context)).collect();
    envoy.host.set_property("response\0code_details", b"internal_redirect");
    envoy.vm.on_end(&envoy.host, &leader, 1);
    wake(&mut envoy);
    assert_eq!(envoy.host.resumed.get(), 10);
    assert_eq!(begin(&mut envoy, 20).1, Flow::Continue, "known not to be worth it");
}

#[test]
fn one_clients_directives_change_nothing_for_others() {
    for own in ["no-store", "no-cache", "max-age=0"] {
        let mut envoy = Envoy::new("{}");
        let request = [GET[0], GET[1], GET[2], GET[3], ("cache-control", own)];
        envoy.host.set_request(&request);
        let alone = SharedExchange::default();
        envoy.vm.on_request_headers(&envoy.host, &alone, 1);
        let (_leader, flow) = begin(&mut envoy, 2);
        assert_eq!(flow, Flow::Continue, "{own}: it follows nobody who asks for himself");
        assert_eq!(begin(&mut envoy, 3).1, Flow::Pause);
        // At the end of its stream Envoy shows how it left.
        envoy.host.set_request(&request);
        answered(&mut envoy, &alone, 1, "200", &[("cache-control", "no-store")]);
        assert_eq!(envoy.host.resumed.get(), 0, "{own}: its end is nobody's business");
        assert_eq!(begin(&mut envoy, 4).1, Flow::Pause);
    }
}

#[test]
fn what_becomes_shareable_is_collapsed_again() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    answered(&mut envoy, &leader, 1, "200", &[("cache-control", "no-store")]);
    let (alone, flow) = begin(&mut envoy, 2);
    let (also, _) = begin(&mut envoy, 3);
    assert_eq!(flow, Flow::Continue);
    answered(
        &mut envoy,
        &alone,
        2,
        "200",
        &[("cache-control", "max-age=1"), ("etag", "\"e\"")],
    );
    answered(
        &mut envoy,
        &also,
        3,
        "200",
        &[("cache-control", "max-age=1"), ("etag", "\"e\"")],
    );
    envoy.wait(1_500);
    begin(&mut envoy, 4);
    assert_eq!(begin(&mut envoy, 5).1, Flow::Pause);
}

const UNCACHED: [(&str, &str); 1] = [("cache-control", "no-store")];

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
    envoy.vm.on_end(&envoy.host, &first, 1);
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
    envoy.vm.on_end(&envoy.host, &gone, 4);
    envoy.vm.on_end(&envoy.host, &second, 2);
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

/// Everything stored, page by page, as whole responses.
fn exported(envoy: &mut Envoy, max_bytes: u32) -> Vec<Vec<u8>> {
    let now_ms = envoy.host.now_ms.get();
    let mut ask = optimizer_proto::v1::ExportCommand {
        max_bytes,
        ..Default::default()
    };
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let page = envoy.vm.export(&envoy.host, &ask, now_ms);
        for item in page.items {
            match found.last_mut() {
                Some(last) if item.offset > 0 => last.extend_from_slice(&item.part),
                _ => found.push(item.part),
            }
        }
        if page.done {
            return found;
        }
        (ask.cursor, ask.offset) = (page.next_cursor, page.next_offset);
    }
}

fn imported(envoy: &mut Envoy, record: &[u8]) -> String {
    let now_ms = envoy.host.now_ms.get();
    let mut answer = serde_json::Value::Null;
    for (at, part) in record.chunks(100).enumerate() {
        let part = optimizer_proto::v1::ImportCommand {
            part: part.to_vec(),
            offset: at as u64 * 100,
            total: record.len() as u64,
            ..Default::default()
        };
        answer = envoy.vm.import(&envoy.host, &part, now_ms).unwrap();
    }
    answer["outcomes"][0].as_str().unwrap().to_owned()
}

#[test]
fn what_is_exported_in_parts_can_be_restored_elsewhere_with_its_age() {
    let mut from = Envoy::new("{}");
    let body = vec![b'x'; 5_000];
    forwarded(from.get(&[], "200", &FRESH, &body));
    for (chunk, pages) in [(100, true), (1 << 20, false)] {
        let found = exported(&mut from, chunk);
        assert_eq!(found.len(), 1, "{pages}");
        let mut to = Envoy::new("{}");
        to.wait(10_000);
        assert_eq!(imported(&mut to, &found[0]), "restored");
        let hit = replied(to.get(&[], "500", &[], b""));
        assert_eq!((hit.body.len(), hit.field("age")), (5_000, Some("10")));
        assert_eq!(imported(&mut to, &found[0]), "kept");
    }
}

#[test]
fn nothing_in_a_restored_response_is_believed() {
    let mut from = Envoy::new("{}");
    forwarded(from.get(&[], "200", &FRESH, b"content"));
    let record = exported(&mut from, 1 << 20).remove(0);
    let mut to = Envoy::new("{}");
    for at in 0..record.len() {
        let mut flipped = record.clone();
        flipped[at] ^= 0x10;
        let outcome = imported(&mut to, &flipped);
        assert!(
            !["restored", "kept", "expired"].contains(&outcome.as_str()),
            "byte {at}"
        );
    }
    assert_ne!(imported(&mut to, &record[..record.len() - 1]), "restored");
    to.wait(u64::MAX / 4);
    assert_eq!(imported(&mut to, &record), "expired");
    let mut past = Envoy::new("{}");
    past.host.now_ms.set(1_600_000_000_000);
    assert_eq!(imported(&mut past, &record), "from-the-future");
    let mut to = Envoy::new("{}");
    assert_eq!(
        imported(
            &mut to,
            &whole(b"http://api.example/a\0\x03api\0", b"a\r\nset-cookie: b")
        ),
        "header"
    );
    assert_eq!(imported(&mut to, &whole(b"not a url", b"a")), "key");
    assert_eq!(
        imported(&mut to, &whole(b"http://api.example/a", b"a")),
        "key-without-route"
    );
    assert_eq!(
        imported(&mut to, &whole(b"http://api.example/a\0\x03api\0", b"a")),
        "restored"
    );
}

/// A stored response with sound checksums, whatever is in it.
fn whole(key: &[u8], value: &[u8]) -> Vec<u8> {
    use crate::cache::{Encoder, Framing, FreshnessPolicy, storability};
    use crate::http::fields::Fields;
    let request = Fields::default();
    let response = Fields::from(vec![
        (&b":status"[..], &b"200"[..]),
        (b"cache-control", b"max-age=60"),
        (b"x-field", value),
    ]);
    let seen = storability::Exchange {
        method: crate::http::method::Method::Get,
        request: &request,
        status: 200,
        response: &response,
        request_time_ms: 1_700_000_000_000,
        response_time_ms: 1_700_000_000_000,
        framing: Framing::Empty,
        identity_in_key: false,
    };
    let plan = storability::judge(&seen, &FreshnessPolicy::default(), 0).unwrap();
    Encoder::begin(key, &seen, &plan, 0, 32).unwrap().seal().unwrap()
}

#[test]
fn purge_requests_are_taken_from_listed_addresses_only() {
    let mut envoy = Envoy::new(r#"{"purge_sources":["10.0.0.0/8"]}"#);
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    let mut purge = GET.to_vec();
    purge[0] = (":method", "PURGE");
    envoy.host.set_property("source\0address", b"192.0.2.1:999");
    assert_eq!(replied(envoy.ask(&purge, "200", &[], b"")).status, 403);
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).status, 200, "still stored");
    envoy.host.set_property("source\0address", b"10.9.8.7:999");
    assert_eq!(replied(envoy.ask(&purge, "200", &[], b"")).status, 200);
    forwarded(envoy.get(&[], "200", &[], b""));
    let mut closed = Envoy::new("{}");
    assert_eq!(
        forwarded(closed.ask(&purge, "405", &[], b"")).0,
        "405",
        "goes to the origin"
    );
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

#[test]
fn who_stood_still_asks_the_origin_until_it_has_caught_up() {
    let mut envoy = Envoy::new("{}");
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.control(ToFilter::Welcome(Welcome::default()));
    envoy.control(ToFilter::CaughtUp(optimizer_proto::v1::CaughtUp {}));
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    envoy.wait(4_000);
    replied(envoy.get(&[], "500", &[], b""));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.wait(30_000);
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    // What the old stream still brings is not listened to: the stream has been given up.
    envoy.control(ToFilter::CaughtUp(optimizer_proto::v1::CaughtUp {}));
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.wait(100);
    envoy.control(ToFilter::Welcome(Welcome::default()));
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    envoy.control(ToFilter::CaughtUp(optimizer_proto::v1::CaughtUp {}));
    replied(envoy.get(&[], "500", &[], b""));
}

#[test]
fn who_is_vouched_for_knows_of_the_purge_whose_wake_up_is_still_behind() {
    let mut envoy = Envoy::new(r#"{"default_ttl":"1h"}"#);
    envoy.vm.on_tick(&envoy.host, ROOT);
    forwarded(envoy.get(&[], "200", &[("cache-control", "max-age=600")], b"old"));
    envoy.wait(30_000);
    let no_store = [("cache-control", "no-store")];
    forwarded(envoy.get(&[], "200", &no_store, b"in doubt"));
    envoy.wait(10);
    // Another VM has heard of the purge that was slept through, and then that nothing is missing.
    let now_ms = envoy.host.now_ms.get();
    let map = std::rc::Rc::clone(&envoy.host.map);
    let mut leader = crate::store::Stamps::default();
    leader
        .purge(&*map, &optimizer_proto::purge::PurgeTarget::All, false, now_ms)
        .unwrap();
    crate::shared_map::SharedMap::set(&*map, b"ao1/vouched", &now_ms.to_le_bytes(), None).unwrap();
    forwarded(envoy.get(&[], "200", &no_store, b"asked"));
}

fn explained(envoy: &mut Envoy, fields: &[(&str, &str)]) -> serde_json::Value {
    let command = optimizer_proto::v1::Command {
        id: "1".to_owned(),
        body: Some(optimizer_proto::v1::command::Body::Explain(
            optimizer_proto::v1::ExplainCommand {
                method: "GET".to_owned(),
                scheme: "http".to_owned(),
                authority: "api.example".to_owned(),
                path: "/a?b=1".to_owned(),
                fields: fields
                    .iter()
                    .map(|(name, value)| optimizer_proto::v1::HeaderField {
                        name: name.as_bytes().to_vec(),
                        value: value.as_bytes().to_vec(),
                    })
                    .collect(),
            },
        )),
    };
    let done = envoy.vm.execute(&envoy.host, &command, envoy.host.now_ms.get());
    assert!(done.ok, "{}", done.detail);
    serde_json::from_str(&done.detail).unwrap()
}

#[test]
fn an_explanation_names_the_policy_and_lists_variants_also_where_none_fits() {
    let mut envoy = Envoy::new(r#"{"routes":[{"name":"a","path_prefix":"/a","ttl_ceiling":"30s"}]}"#);
    let varied = [("cache-control", "max-age=60"), ("vary", "x-tenant")];
    for tenant in ["one", "two"] {
        forwarded(envoy.get(&[("x-tenant", tenant)], "200", &varied, b"content"));
    }
    let missed = explained(&mut envoy, &[("x-tenant", "three")]);
    assert_eq!(
        (&missed["decision"], &missed["route"]),
        (&"forward".into(), &"a".into())
    );
    assert_eq!(
        (&missed["policy"]["path_prefix"], &missed["policy"]["ttl_ceiling_ms"]),
        (&"/a".into(), &30_000.into())
    );
    let variants = missed["variants"].as_array().unwrap();
    let mut tenants: Vec<_> = variants
        .iter()
        .map(|variant| variant["selecting"][0]["value"].as_str().unwrap())
        .collect();
    tenants.sort_unstable();
    assert_eq!(tenants, ["one", "two"]);
    assert!(
        variants
            .iter()
            .all(|variant| variant["selected"] == false && variant["freshness_lifetime_ms"] == 30_000)
    );

    let hit = explained(&mut envoy, &[("x-tenant", "two")]);
    assert_eq!(hit["decision"], "serve", "{hit}");
    let selected = hit["variants"].as_array().unwrap();
    assert_eq!(selected.iter().filter(|variant| variant["selected"] == true).count(), 1);
    assert_eq!(hit["stored"]["body_bytes"], 7);
}

#[test]
fn a_routes_limit_of_size_and_its_override_of_lifetimes_hold() {
    let mut envoy = Envoy::new(
        r#"{"routes":[{"name":"a","path_prefix":"/a","max_object_size":"1KiB","ttl_override":"5s","stale_if_error":"10s"}]}"#,
    );
    forwarded(envoy.get(&[], "200", &FRESH, &[b'x'; 1_025]));
    forwarded(envoy.get(&[], "200", &[], &[b'x'; 1_024]));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body.len(), 1_024);
    envoy.wait(5_000);
    let stale = replied(envoy.get(&[], "503", &[], b""));
    assert!(
        stale.field("cache-status").unwrap().contains("stale-if-error"),
        "{stale:?}"
    );
    envoy.wait(11_000);
    assert_eq!(forwarded(envoy.get(&[], "503", &[], b"")).0, "503");
}

#[test]
fn other_workers_hear_of_an_invalidated_group_at_once() {
    let mut first = Envoy::new("{}");
    let grouped = [("cache-control", "max-age=60"), ("cache-groups", "\"prices\"")];
    forwarded(first.get(&[], "200", &grouped, b"body"));
    let host = FakeHost {
        map: std::rc::Rc::clone(&first.host.map),
        ..FakeHost::default()
    };
    host.now_ms.set(first.host.now_ms.get());
    host.set_property("xds\0cluster_name", b"api");
    host.random.set(99);
    let mut second = Envoy {
        host,
        vm: Vm::new(),
        details: "via_upstream",
    };
    second.vm.on_start(&second.host);
    second.vm.on_configure(&second.host, ROOT, b"{}");
    second.vm.on_tick(&second.host, ROOT);
    replied(second.get(&[], "500", &[], b""));

    let mut post = GET.to_vec();
    (post[0], post[3]) = ((":method", "POST"), (":path", "/change"));
    first.host.queued.borrow_mut().clear();
    forwarded(first.ask(&post, "200", &[("cache-group-invalidation", "\"prices\"")], b"done"));
    let told = first.host.queued.borrow();
    let stamps = vec![super::wake::Wake::Stamps.byte()];
    assert!(told.values().flatten().any(|item| *item == stamps), "{told:?}");
}
