//! Responses that answer more than one query of their path.

use super::*;
use optimizer_proto::purge::PurgeTarget;

const SAYS: [(&str, &str); 3] = [
    ("cache-control", "max-age=60"),
    ("content-type", "text/plain"),
    ("no-vary-search", "params=(\"utm\")"),
];

impl Envoy {
    fn path(&mut self, path: &str, more: &[(&str, &str)], response: &[(&str, &str)], body: &[u8]) -> Seen {
        let mut request = GET.to_vec();
        request[3] = (":path", path);
        request.extend_from_slice(more);
        self.ask(&request, "200", response, body)
    }

    /// One that has seen such a response before.
    fn seeing() -> Self {
        let mut envoy = Self::new("{}");
        forwarded(envoy.path("/first?utm=1", &[], &SAYS, b"first"));
        envoy
    }
}

#[test]
fn queries_that_differ_in_what_makes_no_difference_have_one_answer() {
    let mut envoy = Envoy::seeing();
    // The first one of all was stored for its own query.
    assert_eq!(replied(envoy.path("/first?utm=1", &[], &[], b"")).body, b"first");
    forwarded(envoy.path("/first?utm=2", &[], &UNCACHED, b"x"));
    forwarded(envoy.path("/p?id=1&utm=1", &[], &SAYS, b"one"));
    for path in [
        "/p?id=1&utm=1",
        "/p?id=1&utm=2",
        "/p?utm&id=%31&utm=3",
        "/p?id=1",
        "/p?&id=1&",
    ] {
        assert_eq!(replied(envoy.path(path, &[], &[], b"")).body, b"one", "{path}");
    }
    for path in [
        "/p?id=2&utm=1",
        "/p?id=1&x",
        "/p?id=1;utm=2",
        "/p?id=1&utm=1;x",
        "/p?id=1&id=1",
        "/q?id=1",
        "/p",
        "/p?utm=1",
    ] {
        forwarded(envoy.path(path, &[], &UNCACHED, b"x"));
    }
    // What is malformed says nothing.
    let malformed = [SAYS[0], SAYS[1], ("no-vary-search", "params=(utm)")];
    forwarded(envoy.path("/m?utm=1", &[], &malformed, b"m"));
    forwarded(envoy.path("/m?utm=2", &[], &UNCACHED, b"x"));
    assert_eq!(replied(envoy.path("/m?utm=1", &[], &[], b"")).body, b"m");
}

#[test]
fn it_is_shared_no_further_than_by_one_query() {
    let mut envoy = Envoy::seeing();
    let varies = [SAYS[0], SAYS[1], SAYS[2], ("vary", "x-lang")];
    forwarded(envoy.path("/v?utm=1", &[("x-lang", "de")], &varies, b"de"));
    assert_eq!(
        replied(envoy.path("/v?utm=2", &[("x-lang", "de")], &[], b"")).body,
        b"de"
    );
    forwarded(envoy.path("/v?utm=2", &[("x-lang", "fr")], &UNCACHED, b"x"));
    let user = [("authorization", "Bearer a")];
    forwarded(envoy.path("/u?utm=1", &user, &SAYS, b"a's"));
    forwarded(envoy.path("/u?utm=2", &user, &UNCACHED, b"x"));
    let heuristic = [SAYS[1], SAYS[2], ("last-modified", "Mon, 01 Jan 2018 00:00:00 GMT")];
    forwarded(envoy.path("/h?utm=1", &[], &heuristic, b"h"));
    assert_eq!(replied(envoy.path("/h?utm=2", &[], &[], b"")).body, b"h");
    forwarded(envoy.path("/h?utm=3", &[("cookie", "a=b")], &UNCACHED, b"x"));
    let no_cache = [("cache-control", "no-cache")];
    forwarded(envoy.path("/h?utm=4", &no_cache, &SAYS, b"new"));
    assert_eq!(replied(envoy.path("/h?utm=5", &[], &[], b"")).body, b"new");
}

#[test]
fn a_purge_of_any_of_its_queries_takes_it() {
    let mut envoy = Envoy::seeing();
    let host = b"api.example";
    for target in [
        PurgeTarget::url(host, b"/p?id=1&utm=9"),
        PurgeTarget::url(host, b"/p?id=1&utm=1"),
        PurgeTarget::url(host, b"/p"),
        PurgeTarget::prefix(host, b"/p?id=1&u"),
        PurgeTarget::prefix(b"", b"/p?"),
        PurgeTarget::prefix(host, b"/"),
        PurgeTarget::path(host, b"/p"),
        PurgeTarget::host(host),
        PurgeTarget::All,
    ] {
        forwarded(envoy.path("/p?id=1&utm=1", &[], &SAYS, b"one"));
        assert_eq!(replied(envoy.path("/p?id=1&utm=2", &[], &[], b"")).body, b"one");
        let now_ms = envoy.host.now_ms.get();
        envoy
            .vm
            .invalidation_log
            .purge(&envoy.host, &PurgeTarget::url(host, b"/q?utm=1"), false, now_ms)
            .unwrap();
        assert_eq!(replied(envoy.path("/p?id=1&utm=3", &[], &[], b"")).body, b"one");
        envoy
            .vm
            .invalidation_log
            .purge(&envoy.host, &target, false, now_ms)
            .unwrap();
        forwarded(envoy.path("/p?id=1&utm=4", &[], &UNCACHED, b"x"));
        forwarded(envoy.path("/p?id=1&utm=1", &[], &UNCACHED, b"x"));
    }
    // So does an unsafe request to one of them.
    forwarded(envoy.path("/p?id=1&utm=1", &[], &SAYS, b"one"));
    let mut post = GET.to_vec();
    (post[0], post[3]) = ((":method", "POST"), (":path", "/p?id=1&utm=7"));
    forwarded(envoy.ask(&post, "200", &[], b"done"));
    forwarded(envoy.path("/p?id=1&utm=1", &[], &UNCACHED, b"x"));
}

#[test]
fn it_is_renewed_by_a_clients_request_under_its_key() {
    let mut envoy = Envoy::seeing();
    let stale = [
        ("cache-control", "max-age=1, stale-while-revalidate=60"),
        ("content-type", "text/plain"),
        ("etag", "\"v1\""),
        SAYS[2],
    ];
    forwarded(envoy.path("/s?utm=1", &[], &stale, b"one"));
    envoy.wait(3_000);
    envoy.host.calls.borrow_mut().clear();
    forwarded(envoy.path("/s?utm=2", &[], &stale, b"two"));
    assert_eq!(replied(envoy.path("/s?utm=3", &[], &[], b"")).body, b"two");
    envoy.vm.on_tick(&envoy.host, ROOT);
    wake(&mut envoy);
    assert!(envoy.host.calls.borrow().is_empty());
}

#[test]
fn a_tag_of_another_url_is_not_put_into_a_request() {
    let mut envoy = Envoy::seeing();
    let tagged = [("cache-control", "max-age=1"), SAYS[1], ("etag", "\"v1\""), SAYS[2]];
    forwarded(envoy.path("/t?utm=1", &[], &tagged, b"one"));
    envoy.wait(3_000);
    // Every URL of this origin has the same tag, and it does not say any more that the parameter makes no difference.
    let (_, status) = forwarded(envoy.path("/t?utm=2", &[], &tagged[..3], b"two"));
    assert_eq!(envoy.host.header(MapKind::Request, "if-none-match"), None);
    assert!(status.contains("fwd=stale"), "{status}");
    assert_eq!(replied(envoy.path("/t?utm=2", &[], &[], b"")).body, b"two");
    let own = [("if-none-match", "\"mine\"")];
    forwarded(envoy.path("/t?utm=3", &own, &tagged[..3], b"three"));
    assert_eq!(
        envoy.host.header(MapKind::Request, "if-none-match").as_deref(),
        Some("\"mine\"")
    );
}
