//! RFC 9110 sections 13 to 15 and RFC 9111 section 4.3.2, answered from what is stored.

use super::{NOW, fields, stored};
use crate::cache::StoredView;
use crate::cache::policy::FreshnessPolicy;
use crate::cache::reply::{Answer, build};
use crate::cache::reuse::{Action, Reuse, ReuseReason};
use crate::cache::status_field::{CacheStatus, Forward};
use crate::http::method::Method;

const STORED: &str = "cache-control: max-age=60 | etag: \"v1\" | last-modified: Tue, 14 Nov 2023 20:00:00 GMT | content-type: a/b | cache-tag: t";

fn answered(status: u16, request: &str, stored_for: &str, response: &str, method: Method) -> String {
    let policy = FreshnessPolicy::default();
    let bytes = stored(stored_for, status, response, &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let reuse = Reuse {
        action: Action::Serve,
        reason: ReuseReason::Fresh,
        age_s: 7,
        ttl_s: 53,
    };
    match build(&view, &reuse, method, &fields(request), 1, NOW + 7_000) {
        Answer::AskOrigin => "origin".to_owned(),
        Answer::Reply(reply) => {
            let mut shown = Vec::new();
            reply.for_each_field(&view, &mut |name, value| {
                let told = matches!(
                    name,
                    b"content-range" | b"content-length" | b"content-type" | b"cache-tag" | b"age"
                );
                if told && !value.starts_with(b"multipart") {
                    shown.push(format!(
                        "{}={}",
                        String::from_utf8_lossy(name),
                        String::from_utf8_lossy(value)
                    ));
                }
            });
            let parts = String::from_utf8_lossy(&reply.body).matches("--ao-").count();
            let body = if parts > 0 {
                format!("{} parts", parts - 1)
            } else {
                String::from_utf8_lossy(&reply.body).into_owned()
            };
            format!("{} {body} {}", reply.status, shown.join(" "))
        }
    }
}

#[test]
fn conditions_and_ranges() {
    let get = Method::parse(b"GET");
    for (request, expected) in [
        ("", "200 0123456789 content-type=a/b content-length=10 age=7"),
        ("if-none-match: \"v1\"", "304  age=7"),
        ("if-none-match: W/\"v1\"", "304  age=7"),
        ("if-none-match: \"x\", \"v1\"", "304  age=7"),
        ("if-none-match: *", "304  age=7"),
        (
            "if-none-match: \"x\"",
            "200 0123456789 content-type=a/b content-length=10 age=7",
        ),
        // If-None-Match goes before If-Modified-Since.
        (
            "if-none-match: \"x\" | if-modified-since: Tue, 14 Nov 2023 20:00:00 GMT",
            "200 0123456789 content-type=a/b content-length=10 age=7",
        ),
        ("if-modified-since: Tue, 14 Nov 2023 20:00:00 GMT", "304  age=7"),
        (
            "if-modified-since: Tue, 14 Nov 2023 19:59:59 GMT",
            "200 0123456789 content-type=a/b content-length=10 age=7",
        ),
        (
            "if-modified-since: soon",
            "200 0123456789 content-type=a/b content-length=10 age=7",
        ),
        ("if-match: \"v1\"", "origin"),
        ("if-unmodified-since: Tue, 14 Nov 2023 20:00:00 GMT", "origin"),
        (
            "range: bytes=2-3",
            "206 23 content-type=a/b content-range=bytes 2-3/10 content-length=2 age=7",
        ),
        (
            "range: bytes=-2",
            "206 89 content-type=a/b content-range=bytes 8-9/10 content-length=2 age=7",
        ),
        (
            "range: bytes=10-",
            "416  content-range=bytes */10 content-length=0 age=7",
        ),
        ("range: bytes=0-0, 4-5", "206 2 parts content-length=178 age=7"),
        (
            "range: bytes=2-3 | if-range: \"v1\"",
            "206 23 content-type=a/b content-range=bytes 2-3/10 content-length=2 age=7",
        ),
        (
            "range: bytes=2-3 | if-range: W/\"v1\"",
            "200 0123456789 content-type=a/b content-length=10 age=7",
        ),
        (
            "range: bytes=2-3 | if-range: \"x\"",
            "200 0123456789 content-type=a/b content-length=10 age=7",
        ),
        ("range: bytes=2-3 | if-none-match: \"v1\"", "304  age=7"),
    ] {
        assert_eq!(answered(200, request, "", STORED, get), expected, "{request}");
    }
}

#[test]
fn head_and_other_statuses() {
    let (get, head) = (Method::parse(b"GET"), Method::parse(b"HEAD"));
    assert_eq!(
        answered(200, "", "", STORED, head),
        "200  content-type=a/b content-length=10 age=7"
    );
    assert_eq!(
        answered(200, "range: bytes=2-3", "", STORED, head),
        "200  content-type=a/b content-length=10 age=7"
    );
    // A condition is about a 200 (RFC 9110 section 13.2.1), a range too.
    let gone = answered(404, "if-none-match: \"v1\" | range: bytes=2-3", "", STORED, get);
    assert_eq!(gone, "404 0123456789 content-type=a/b content-length=10 age=7");
    let part = format!("{STORED} | content-range: bytes 5-14/20");
    let asked = "range: bytes=5-14";
    let same = "206 0123456789 content-type=a/b content-range=bytes 5-14/20 content-length=10 age=7";
    assert_eq!(answered(206, asked, asked, &part, get), same);
    assert_eq!(
        answered(206, &format!("{asked} | if-none-match: \"v1\""), asked, &part, get),
        "304  age=7"
    );
    assert_eq!(answered(206, asked, asked, &part, head), "origin");
}

#[test]
fn cache_status_says_what_was_done() {
    let written = |status: CacheStatus<'_>, upstream: &[&[u8]]| {
        let mut out = Vec::new();
        status.write(upstream.iter().copied(), &mut out);
        String::from_utf8(out).expect("text")
    };
    let hit = CacheStatus {
        hit: true,
        ttl_s: Some(-3),
        detail: Some("max-stale"),
        ..CacheStatus::default()
    };
    assert_eq!(
        written(hit, &[b"origin; hit"]),
        "origin; hit, api-optimizer; hit; ttl=-3; detail=max-stale"
    );
    let miss = CacheStatus {
        forward: Some(Forward::Stale),
        forward_status: Some(304),
        stored: true,
        collapsed: true,
        ..CacheStatus::default()
    };
    assert_eq!(
        written(miss, &[]),
        "api-optimizer; fwd=stale; fwd-status=304; stored; collapsed"
    );
}

#[test]
fn a_refused_range_does_not_say_that_it_is_fresh() {
    let fresh = "cache-control: max-age=60 | expires: Tue, 14 Nov 2033 20:00:00 GMT | cdn-cache-control: max-age=60 | etag: \"v1\"";
    let bytes = stored("", 200, fresh, &FreshnessPolicy::default());
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let reuse = Reuse {
        action: Action::Serve,
        reason: ReuseReason::Fresh,
        age_s: 0,
        ttl_s: 60,
    };
    for (range, status, names) in [
        (
            "range: bytes=0-1",
            206,
            "cache-control expires cdn-cache-control etag content-range content-length age",
        ),
        ("range: bytes=99-", 416, "etag content-range content-length age"),
    ] {
        let Answer::Reply(reply) = build(&view, &reuse, Method::Get, &fields(range), 1, NOW) else {
            panic!("the origin is asked");
        };
        let mut shown = Vec::new();
        reply.for_each_field(&view, &mut |name, _| {
            shown.push(String::from_utf8_lossy(name).into_owned())
        });
        assert_eq!((reply.status, shown.join(" ")), (status, names.to_owned()));
    }
}

#[test]
fn a_digest_of_the_whole_content_leaves_with_the_whole_alone() {
    let policy = FreshnessPolicy::default();
    let digests = "cache-control: max-age=60 | etag: \"v1\" | content-digest: a | content-md5: b | repr-digest: c";
    let bytes = stored("", 200, digests, &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let reuse = crate::cache::reuse::decide(
        &view,
        &crate::cache::request_directives::RequestDirectives::default(),
        false,
        NOW,
    );
    for (request, expected) in [
        ("", "content-digest content-md5 repr-digest"),
        ("range: bytes=2-3", "repr-digest"),
        ("range: bytes=0-0, 4-5", "repr-digest"),
        ("range: bytes=10-", "repr-digest"),
        ("if-none-match: \"v1\"", "repr-digest"),
    ] {
        let Answer::Reply(reply) = build(&view, &reuse, Method::Get, &fields(request), 1, NOW) else {
            panic!("{request}");
        };
        let mut sent = Vec::new();
        reply.for_each_field(&view, &mut |name, _| {
            sent.push(String::from_utf8_lossy(name).into_owned())
        });
        sent.retain(|name| name.ends_with("-digest") || name == "content-md5");
        assert_eq!(sent.join(" "), expected, "{request}");
    }
}
