//! What Envoy's routing makes of keys and renewals.

use super::*;
use crate::driver::host::header_map;

impl Envoy {
    /// A request that Envoy changes on its way to the upstream, as `changed` says.
    fn changing(&mut self, request: &[(&str, &str)], changed: &[(&str, &str)], body: &[u8]) -> (Flow, Option<Replied>) {
        let (host, vm) = (&self.host, &mut self.vm);
        host.replies.borrow_mut().clear();
        host.set_request(request);
        let shared = SharedExchange::default();
        let flow = vm.on_request_headers(host, &shared, 9);
        if flow == Flow::Continue {
            let length = body.len().to_string();
            let mut head = vec![(":status", "200"), ("content-length", length.as_str())];
            head.extend_from_slice(&SWR);
            host.set_response(&head);
            host.set_property("response\0code_details", b"via_upstream");
            vm.on_response_headers(host, &mut shared.borrow_mut(), 0, false);
            *host.body.borrow_mut() = body.to_vec();
            vm.on_response_body(host, &mut shared.borrow_mut(), body.len(), true);
            host.set_request(changed);
        }
        vm.on_end(host, &shared);
        (flow, host.replies.borrow().last().cloned())
    }
}

const SWR: [(&str, &str); 1] = [("cache-control", "max-age=10, stale-while-revalidate=60")];
const REWRITTEN: [(&str, &str); 4] = [GET[0], GET[1], GET[2], (":path", "/rewritten")];

fn beta() -> Vec<(&'static str, &'static str)> {
    GET.iter().copied().chain([("x-beta", "1")]).collect()
}

#[test]
fn without_a_route_or_with_an_odd_target_the_cache_is_not_asked() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    envoy.host.properties.borrow_mut().remove(&b"xds\0cluster_name"[..]);
    let (_, cache_status) = forwarded(envoy.get(&[], "404", &FRESH, b"none"));
    assert!(cache_status.contains("fwd=bypass; detail=no-route"), "{cache_status}");
    envoy.host.set_property("xds\0cluster_name", b"api");
    for (odd, detail) in [
        ((":authority", "evil@api.example"), "user-information"),
        ((":path", "/a?b=1#c"), "fragment"),
        (("x-forwarded-proto", "https, http"), "forwarded-proto"),
    ] {
        let request: Vec<_> = GET
            .iter()
            .copied()
            .filter(|line| line.0 != odd.0)
            .chain([odd])
            .collect();
        for _ in 0..2 {
            let (_, cache_status) = forwarded(envoy.ask(&request, "200", &FRESH, b"odd"));
            assert!(cache_status.contains(detail), "{cache_status}");
        }
    }
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"body");
}

#[test]
fn clusters_routes_and_spellings_share_nothing() {
    let mut envoy = Envoy::new("{}");
    let ways = [
        (&b"api"[..], &b""[..], "api.example"),
        (b"canary", b"", "api.example"),
        (b"api", b"named", "api.example"),
        (b"api", b"", "api.example."),
        (b"api", b"", "api.example:80"),
    ];
    for (body, (cluster, route, authority)) in [b"0", b"1", b"2", b"3", b"4"].into_iter().zip(ways) {
        envoy.host.set_property("xds\0cluster_name", cluster);
        envoy.host.set_property("xds\0route_name", route);
        let request = [GET[0], GET[1], (":authority", authority), GET[3]];
        forwarded(envoy.ask(&request, "200", &FRESH, body));
        assert_eq!(replied(envoy.ask(&request, "500", &[], b"")).body, body);
    }
    // However it is spelled and wherever it was sent: a purge of the URL reaches it.
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    envoy.host.set_property("xds\0route_name", b"");
    forwarded(envoy.ask(&post, "200", &[], b"done"));
    for authority in ["api.example", "api.example.", "api.example:80"] {
        forwarded(envoy.ask(&[GET[0], GET[1], (":authority", authority), GET[3]], "200", &[], b"new"));
    }
}

/// Nothing tells two unnamed routes to one cluster apart but what they were chosen by. Which of them changes requests is not known
/// before such a request was seen to leave.
#[test]
fn an_unnamed_route_shares_by_the_whole_head_and_the_listener() {
    let mut envoy = Envoy::new("{}");
    envoy.host.set_property("xds\0route_name", b"");
    envoy.host.set_property("destination\0address", b"10.0.0.1:80");
    assert_eq!(envoy.changing(&GET, &GET, b"plain").0, Flow::Continue);
    assert_eq!(envoy.changing(&GET, &GET, b"").1.unwrap().body, b"plain");
    assert_eq!(envoy.changing(&beta(), &REWRITTEN, b"beta").0, Flow::Continue);
    assert_eq!(envoy.changing(&beta(), &REWRITTEN, b"").1.unwrap().body, b"beta");
    assert_eq!(envoy.changing(&GET, &GET, b"").1.unwrap().body, b"plain");
    envoy.host.set_property("destination\0address", b"10.0.0.1:8080");
    assert_eq!(envoy.changing(&GET, &REWRITTEN, b"inner").0, Flow::Continue);
    envoy.host.set_property("xds\0route_name", b"named");
    assert_eq!(envoy.changing(&GET, &GET, b"named").0, Flow::Continue);
    assert_eq!(envoy.changing(&beta(), &GET, b"").1.unwrap().body, b"named");
}

/// As with clusters of the kind `ORIGINAL_DST`.
#[test]
fn a_request_that_goes_where_its_client_connected_to_shares_with_its_like() {
    let mut envoy = Envoy::new("{}");
    let to = |envoy: &Envoy, address: &[u8]| {
        for path in ["destination\0address", "upstream\0address"] {
            envoy.host.set_property(path, address);
        }
    };
    to(&envoy, b"10.0.0.1:80");
    assert_eq!(
        envoy.changing(&GET, &GET, b"first").0,
        Flow::Continue,
        "nothing is known"
    );
    for (address, body) in [(&b"10.0.0.2:80"[..], &b"two"[..]), (b"10.0.0.1:80", b"one")] {
        to(&envoy, address);
        assert_eq!(envoy.changing(&GET, &GET, body).0, Flow::Continue);
        assert_eq!(envoy.changing(&GET, &GET, b"").1.unwrap().body, body);
    }
    to(&envoy, b"10.0.0.2:80");
    assert_eq!(envoy.changing(&GET, &GET, b"").1.unwrap().body, b"two");
}

#[test]
fn what_comes_from_an_address_that_a_request_brought_is_nobody_elses() {
    for settings in [
        "{}",
        r#"{"routes": [{"name": "r", "path_prefix": "/", "key_headers": ["x-where"]}]}"#,
    ] {
        let mut envoy = Envoy::new(settings);
        forwarded(envoy.ask(&[GET[0], GET[1], GET[2], (":path", "/other")], "200", &FRESH, b""));
        let request: Vec<_> = GET.iter().copied().chain([("x-where", "10.0.0.1:80")]).collect();
        envoy.host.set_property("upstream\0address", b"10.0.0.1:80");
        for _ in 0..2 {
            envoy.changing(&request, &request, b"one");
        }
        let (flow, _) = envoy.changing(&request, &request, b"one");
        assert_eq!(flow == Flow::Continue, settings == "{}", "{settings}");
    }
}

#[test]
fn a_changed_request_is_renewed_by_a_client_and_the_others_do_not_wait() {
    let mut envoy = Envoy::new("{}");
    envoy.host.set_property("xds\0route_name", b"rewriting");
    envoy.changing(&GET, &REWRITTEN, b"old");
    envoy.wait(20_000);
    envoy.host.set_request(&GET);
    let leader = SharedExchange::default();
    assert_eq!(
        envoy.vm.on_request_headers(&envoy.host, &leader, 1),
        Flow::Continue,
        "it renews"
    );
    for _ in 0..3 {
        assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"old");
    }
    envoy.host.set_request(&GET);
    finish(&mut envoy, &leader, &SWR, b"new");
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"new");
    assert!(envoy.host.calls.borrow().is_empty(), "no request of our own");
}

#[test]
fn a_renewal_by_a_client_that_fails_is_answered_with_what_is_stored() {
    for wait in [20_000, 0] {
        let mut envoy = Envoy::new("{}");
        envoy.host.set_property("xds\0route_name", b"rewriting");
        let response = [(
            "cache-control",
            "max-age=10, stale-while-revalidate=60, stale-if-error=0",
        )];
        forwarded(envoy.get(&[], "200", &response, b"old"));
        envoy.vm.learned.forwarding.background_failed(0, 0);
        envoy.wait(wait);
        let answer = replied(envoy.get(&[], "503", &[], b"down"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"old"[..]));
    }
}

fn woken(envoy: &mut Envoy) -> Vec<(String, String)> {
    let queue = envoy.vm.queue;
    envoy.vm.on_wake(&envoy.host, ROOT, queue);
    let calls = envoy.host.calls.borrow();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = calls.last().map(|(_, lines)| lines.clone()).unwrap_or_default();
    lines.iter().map(|(name, value)| (text(name), text(value))).collect()
}

#[test]
fn a_request_of_our_own_says_what_a_clients_says_and_after_a_failure_a_client_renews() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[("x-client", "1")], "200", &SWR, b"old"));
    envoy.wait(20_000);
    replied(envoy.get(&[("x-client", "1")], "500", &[], b""));
    let sent = woken(&mut envoy);
    for wanted in [
        ("x-client", "1"),
        ("surrogate-capability", "api-optimizer=\"Surrogate/1.0\""),
    ] {
        assert!(sent.contains(&(wanted.0.to_owned(), wanted.1.to_owned())), "{sent:?}");
    }
    envoy.host.set_call_response(&[(":status", "503")]);
    envoy.vm.on_call_response(&envoy.host, 1, 1, 0);
    forwarded(envoy.get(&[("x-client", "1")], "200", &SWR, b"new"));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"new");
}

#[test]
fn what_a_client_would_not_have_got_is_not_stored() {
    for answer in [
        &[
            ("cache-control", "max-age=10, stale-while-revalidate=60"),
            ("x-raw", "1"),
        ][..],
        &[("cache-control", "max-age=10"), ("content-length", "3")],
        &[("cache-control", "max-age=10, stale-while-revalidate=60")],
    ] {
        let mut envoy = Envoy::new("{}");
        forwarded(envoy.get(&[], "200", &SWR, b"old"));
        envoy.wait(20_000);
        replied(envoy.get(&[], "500", &[], b""));
        woken(&mut envoy);
        let head: Vec<_> = [(":status", "200")].iter().chain(answer).copied().collect();
        envoy.host.set_call_response(&head);
        *envoy.host.body.borrow_mut() = b"raw".to_vec();
        envoy.vm.on_call_response(&envoy.host, 1, head.len(), 3);
        forwarded(envoy.get(&[], "200", &SWR, b"new"));
        assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"new", "{answer:?}");
    }
}

/// A hit whose head has become `head` when it comes by, with so many bytes of content.
fn on_its_way(envoy: &mut Envoy, head: &[(&str, &str)], size: usize) {
    let shared = SharedExchange::default();
    envoy.host.set_request(&GET);
    assert_eq!(envoy.vm.on_request_headers(&envoy.host, &shared, 9), Flow::Pause);
    envoy.host.set_response(head);
    let mut exchange = shared.borrow_mut();
    envoy
        .vm
        .on_response_headers(&envoy.host, &mut exchange, head.len(), false);
    envoy.vm.on_response_body(&envoy.host, &mut exchange, size, true);
    drop(exchange);
    envoy.vm.on_end(&envoy.host, &shared);
}

#[test]
fn a_reply_gets_back_the_fields_it_was_sent_with() {
    let mut envoy = Envoy::new("{}");
    let response = [
        ("cache-control", "max-age=60"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-over", "rule"),
    ];
    forwarded(envoy.get(&[], "200", &response, b"body"));
    let head = [
        (":status", "200"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-a", "2"),
        ("x-over", "rule"),
        ("x-over", "rule"),
        ("x-others", "stay"),
        ("content-type", "text/plain"),
        ("content-length", "4"),
    ];
    on_its_way(&mut envoy, &head, 4);
    let map = envoy.host.header_map_now();
    let of = |name: &str| -> Vec<String> {
        header_map::parse(&map)
            .iter()
            .filter(|(given, _)| *given == name.as_bytes())
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    assert_eq!(
        (of("x-a"), of("x-over")),
        (vec!["1".to_owned(), "2".to_owned()], vec!["rule".to_owned()])
    );
    assert_eq!(
        (
            of("x-others").len(),
            of("content-type").len(),
            of("content-length").len()
        ),
        (1, 0, 1)
    );
}

#[test]
fn a_reply_with_another_content_ends_the_use_of_the_cache_and_a_compressed_one_does_not() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    on_its_way(&mut envoy, &[(":status", "200"), ("content-encoding", "gzip")], 2);
    on_its_way(&mut envoy, &[(":status", "200"), ("content-length", "4")], 4);
    on_its_way(&mut envoy, &[(":status", "200"), ("content-length", "40")], 40);
    let (_, cache_status) = forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    assert!(
        cache_status.contains("fwd=bypass; detail=reply-rewritten"),
        "{cache_status}"
    );
    assert_eq!(
        envoy
            .host
            .log
            .borrow()
            .iter()
            .filter(|line| line.contains("rewrites"))
            .count(),
        1
    );
}
