//! Requests that are told apart by their content.

use super::*;
use crate::driver::request::content::WAIT_MS;

const READS: &str = r#"{"routes":[{"name":"reads","path_prefix":"/a","default_ttl":"1m",
    "key_body":{"methods":["QUERY","POST"],"max_size":"1KiB"}},{"name":"rest"}]}"#;
const GRAPHQL: &str =
    r#"{"routes":[{"name":"reads","key_body":{"methods":["POST"],"reads":"graphql","operations":["A"]}}]}"#;

const TYPED: (&str, &str) = ("content-type", "application/json");

impl Envoy {
    fn asks(&mut self, method: &str, path: &str, more: &[(&str, &str)], ends: bool) -> (SharedExchange, Flow) {
        self.host.replies.borrow_mut().clear();
        let mut request = vec![
            (":method", method),
            (":scheme", "http"),
            (":authority", "api.example"),
            (":path", path),
        ];
        request.extend_from_slice(more);
        self.host.set_request(&request);
        let shared = SharedExchange::default();
        if !ends {
            shared.borrow_mut().expect_content();
        }
        let flow = self.vm.on_request_headers(&self.host, &shared, 9);
        (shared, flow)
    }

    fn piece(&mut self, shared: &SharedExchange, piece: &[u8], end: bool) -> Flow {
        *self.host.body.borrow_mut() = piece.to_vec();
        self.vm.on_request_body(&self.host, shared, 9, piece.len(), end)
    }

    /// A request with content in two pieces, whose upstream, if it is asked, answers as given.
    fn read(&mut self, method: &str, more: &[(&str, &str)], content: &[u8], answer: (&[(&str, &str)], &[u8])) -> Seen {
        let length = content.len().to_string();
        let mut more = more.to_vec();
        more.push(("content-length", length.as_str()));
        let (shared, mut flow) = self.asks(method, "/a", &more, content.is_empty());
        if flow == Flow::Collect {
            let (first, last) = content.split_at(content.len() / 2);
            assert_eq!(self.piece(&shared, first, false), Flow::Pause);
            flow = self.piece(&shared, last, true);
        }
        self.answered(&shared, flow, "200", answer.0, answer.1)
    }
}

fn cache_status(seen: Seen) -> String {
    match seen {
        Seen::Forwarded { cache_status, .. } => cache_status,
        Seen::Replied(reply) => reply.field("cache-status").unwrap_or_default().to_owned(),
    }
}

const NONE: (&[(&str, &str)], &[u8]) = (&[], b"not asked");

#[test]
fn a_query_is_answered_by_what_was_stored_for_its_content() {
    let mut envoy = Envoy::new(READS);
    for content in [&b"one"[..], b"two", b""] {
        let body = [b"answer to ", content].concat();
        forwarded(envoy.read("QUERY", &[TYPED], content, (&FRESH, &body)));
        assert_eq!(replied(envoy.read("QUERY", &[TYPED], content, NONE)).body, body);
    }
    // Another type, method or URL is another request.
    forwarded(envoy.read("QUERY", &[("content-type", "text/x")], b"one", (&UNCACHED, b"x")));
    forwarded(envoy.read("POST", &[TYPED], b"one", (&UNCACHED, b"x")));
    forwarded(envoy.get(&[], "200", &UNCACHED, b"x"));
    // The rules for GET hold.
    let no_cache = [TYPED, ("cache-control", "no-cache")];
    forwarded(envoy.read("QUERY", &no_cache, b"one", (&FRESH, b"new")));
    assert_eq!(replied(envoy.read("QUERY", &[TYPED], b"one", NONE)).body, b"new");
    let known = [TYPED, ("if-none-match", "\"v1\"")];
    assert_eq!(replied(envoy.read("QUERY", &known, b"one", NONE)).status, 304);
    let only = [TYPED, ("cache-control", "only-if-cached")];
    assert_eq!(replied(envoy.read("QUERY", &only, b"unseen", NONE)).status, 504);
    let user = [TYPED, ("authorization", "Bearer a")];
    forwarded(envoy.read("QUERY", &user, b"secret", (&FRESH, b"a's")));
    forwarded(envoy.read("QUERY", &user, b"secret", (&FRESH, b"a's")));
}

#[test]
fn a_posted_read_makes_nothing_invalid_and_another_post_does() {
    let mut envoy = Envoy::new(READS);
    let get = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "api.example"),
        (":path", "/a"),
    ];
    forwarded(envoy.ask(&get, "200", &FRESH, b"got"));
    forwarded(envoy.read("POST", &[TYPED], b"one", (&FRESH, b"first")));
    assert_eq!(replied(envoy.read("POST", &[TYPED], b"one", NONE)).body, b"first");
    assert_eq!(replied(envoy.ask(&get, "500", &[], b"")).body, b"got");
    // Without freshness of the origin's own the answer to a POST is not stored, default_ttl or not.
    let seen = cache_status(envoy.read("POST", &[TYPED], b"silent", (&[("etag", "\"a\"")], b"x")));
    assert!(seen.contains("no-freshness"), "{seen}");
    // A POST that is no read removes all of the URL.
    let seen = cache_status(envoy.read("POST", &[TYPED, ("if-match", "\"a\"")], b"one", (&[], b"done")));
    assert!(seen.contains("fwd=method; detail=content-conditions"), "{seen}");
    forwarded(envoy.read("POST", &[TYPED], b"one", (&FRESH, b"second")));
    forwarded(envoy.ask(&get, "200", &FRESH, b"again"));
}

#[test]
fn a_read_whose_content_is_not_seen_makes_nothing_invalid() {
    let large = vec![b'a'; 2 << 10];
    for (settings, content, kept) in [
        (READS, &br#"{"query":"query A { a }"}"#[..], true),
        (GRAPHQL, br#"{"query":"query A { a }"}"#, false),
    ] {
        let mut envoy =
            Envoy::new(&settings.replace("operations\":[\"A\"]", "operations\":[\"A\"],\"max_size\":\"1KiB\""));
        forwarded(envoy.read("POST", &[TYPED], content, (&FRESH, b"first")));
        let seen = cache_status(envoy.read("POST", &[TYPED], &large, (&FRESH, b"other")));
        assert!(seen.contains("detail=content-too-large"), "{seen}");
        let again = envoy.read("POST", &[TYPED], content, (&FRESH, b"second"));
        // What may be a mutation makes invalid what its URL has stored.
        assert_eq!(matches!(again, Seen::Replied(_)), kept, "{again:?}");
    }
}

#[test]
fn a_posted_read_is_not_validated() {
    let mut envoy = Envoy::new(READS);
    let stale = [
        TYPED,
        ("cache-control", "max-age=1, stale-while-revalidate=60"),
        ("etag", "\"v1\""),
    ];
    for method in ["POST", "QUERY"] {
        forwarded(envoy.read(method, &[TYPED], b"one", (&stale, b"first")));
        envoy.wait(3_000);
        envoy.host.calls.borrow_mut().clear();
        // It is renewed by the client's own request, as no other one has the content.
        let seen = cache_status(envoy.read(method, &[TYPED], b"one", (&stale, b"second")));
        assert!(
            seen.contains("fwd=stale") && seen.contains("detail=refresh"),
            "{method} {seen}"
        );
        let condition = envoy.host.header(MapKind::Request, "if-none-match");
        assert_eq!(condition.is_some(), method == "QUERY", "{method}");
        envoy.vm.on_tick(&envoy.host, ROOT);
        wake(&mut envoy);
        assert!(envoy.host.calls.borrow().is_empty());
    }
}

#[test]
fn what_cannot_be_told_to_be_a_read_is_forwarded_with_the_reason() {
    let mut envoy = Envoy::new(READS);
    for (method, more, content, reason) in [
        ("QUERY", vec![], &b"a"[..], "content-type"),
        (
            "POST",
            vec![TYPED, ("content-length", "2000")],
            b"a",
            "content-too-large",
        ),
        ("POST", vec![TYPED], &[b'a'; 2_000], "content-too-large"),
        (
            "POST",
            vec![TYPED, ("expect", "100-continue")],
            b"a",
            "content-expected",
        ),
        (
            "POST",
            vec![TYPED, ("x-http-method-override", "PUT")],
            b"a",
            "content-method",
        ),
        ("QUERY", vec![TYPED, ("range", "bytes=0-1")], b"a", "content-conditions"),
    ] {
        let (shared, mut flow) = envoy.asks(method, "/a", &more, false);
        if flow == Flow::Collect {
            flow = envoy.piece(&shared, content, false);
        }
        assert_eq!(flow, Flow::Continue);
        let seen = cache_status(envoy.answered(&shared, flow, "200", &FRESH, b"x"));
        assert!(
            seen.contains(&format!("fwd=method; detail={reason}")),
            "{method} {seen}"
        );
    }
    // Not asked for, and not shown: as before.
    let seen = cache_status({
        let (shared, flow) = envoy.asks("POST", "/b", &[TYPED], false);
        envoy.answered(&shared, flow, "200", &FRESH, b"x")
    });
    assert!(seen.contains("fwd=method") && !seen.contains("detail"), "{seen}");
    let mut blind = Envoy::new(READS);
    blind.host.blind.set(true);
    let seen = cache_status(blind.read("QUERY", &[TYPED], b"a", (&FRESH, b"x")));
    assert!(seen.contains("fwd=method; detail=content-unseen"), "{seen}");
}

#[test]
fn graphql_queries_are_stored_and_mutations_remove_them() {
    let mut envoy = Envoy::new(GRAPHQL);
    let query = br#"{"query":"query A { a }"}"#;
    forwarded(envoy.read("POST", &[TYPED], query, (&FRESH, b"a")));
    assert_eq!(replied(envoy.read("POST", &[TYPED], query, NONE)).body, b"a");
    for (content, reason) in [
        (&br#"{"query":"query B { a }"}"#[..], "graphql-not-allowed"),
        (br#"[{"query":"query A { a }"}]"#, "graphql-batch"),
        (
            br#"{"query":"query A { a }","query":"query A { b }"}"#,
            "graphql-unclear",
        ),
        (br#"{"query":"mutation A { a }"}"#, "graphql-no-query"),
    ] {
        let seen = cache_status(envoy.read("POST", &[TYPED], content, (&FRESH, b"x")));
        assert!(seen.contains(&format!("detail={reason}")), "{seen}");
    }
    forwarded(envoy.read("POST", &[TYPED], query, (&FRESH, b"b")));
}

#[test]
fn slow_content_is_not_waited_for() {
    let mut envoy = Envoy::new(READS);
    let (shared, flow) = envoy.asks("POST", "/a", &[TYPED], false);
    assert_eq!(flow, Flow::Collect);
    assert_eq!(envoy.piece(&shared, b"ab", false), Flow::Pause);
    envoy.wait(WAIT_MS - 1);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert_eq!(envoy.host.resumed.get(), 0);
    envoy.wait(1);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert_eq!(envoy.host.resumed.get(), 1);
    assert_eq!(envoy.piece(&shared, b"cd", true), Flow::Continue);
    let seen = cache_status(envoy.answered(&shared, Flow::Continue, "200", &FRESH, b"x"));
    assert!(seen.contains("detail=content-slow"), "{seen}");
}

#[test]
fn what_waits_for_content_leaves_nothing_behind() {
    let mut envoy = Envoy::new(READS);
    for round in 0..40_000 {
        let (shared, flow) = envoy.asks("POST", "/a", &[TYPED], false);
        assert_eq!(flow, Flow::Collect, "{round}");
        assert_eq!(envoy.piece(&shared, &[b'a'; 1_000], false), Flow::Pause, "{round}");
        envoy.vm.on_end(&envoy.host, &shared);
    }
    // With trailers behind it the content makes no key.
    let (shared, _) = envoy.asks("POST", "/a", &[TYPED], false);
    envoy.piece(&shared, b"a", false);
    let flow = envoy.vm.on_request_trailers(&envoy.host, &shared, 9);
    assert_eq!(flow, Flow::Continue);
    let seen = cache_status(envoy.answered(&shared, flow, "200", &FRESH, b"x"));
    assert!(seen.contains("detail=content-trailers"), "{seen}");
}

#[test]
fn requests_with_the_same_content_follow_one_fetch() {
    let mut envoy = Envoy::new(READS);
    let (leader, _) = envoy.asks("QUERY", "/a", &[TYPED], false);
    assert_eq!(envoy.piece(&leader, b"one", true), Flow::Continue);
    let (follower, _) = envoy.asks("QUERY", "/a", &[TYPED], false);
    assert_eq!(envoy.piece(&follower, b"one", true), Flow::Pause);
    let (other, _) = envoy.asks("QUERY", "/a", &[TYPED], false);
    assert_eq!(envoy.piece(&other, b"two", true), Flow::Continue);
    finish(&mut envoy, &leader, &FRESH, b"answer");
    wake(&mut envoy);
    assert_eq!(envoy.host.replies.borrow().last().unwrap().body, b"answer");
}

#[test]
fn a_purge_of_the_url_removes_what_is_stored_for_any_content() {
    let mut envoy = Envoy::new(READS);
    forwarded(envoy.read("QUERY", &[TYPED], b"one", (&FRESH, b"first")));
    replied(envoy.read("QUERY", &[TYPED], b"one", NONE));
    let target = optimizer_proto::purge::PurgeTarget::url(b"api.example", b"/a");
    let now_ms = envoy.host.now_ms.get();
    envoy
        .vm
        .invalidation_log
        .purge(&envoy.host, &target, false, now_ms)
        .unwrap();
    forwarded(envoy.read("QUERY", &[TYPED], b"one", (&FRESH, b"second")));
    assert_eq!(replied(envoy.read("QUERY", &[TYPED], b"one", NONE)).body, b"second");
}
