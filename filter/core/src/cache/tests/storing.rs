//! RFC 9111 sections 3, 4.2.1 to 4.2.3 and 5.3; RFC 9213; RFC 9875.

use super::{NOW, TARGET, fields, judged};
use crate::cache::freshness::Origin;
use crate::cache::policy::FreshnessPolicy;
use crate::cache::{age, groups, invalidation};
use crate::http::method::Method;

fn code(request: &str, status: u16, response: &str, policy: &FreshnessPolicy) -> &'static str {
    judged(request, status, response, policy).map_or_else(super::NotStored::as_str, |_| "stored")
}

#[test]
fn what_may_be_stored() {
    let policy = FreshnessPolicy::default();
    for (request, status, response, expected) in [
        ("", 200, "cache-control: max-age=60", "stored"),
        ("", 200, "expires: Tue, 14 Nov 2023 23:13:20 GMT", "stored"),
        ("", 200, "etag: \"v\"", "stored"),
        ("", 200, "", "no-freshness"),
        // RFC 8246: it gives no lifetime.
        ("", 200, "cache-control: immutable", "no-freshness"),
        ("", 200, "cache-control: no-store, max-age=60", "no-store"),
        (
            "",
            200,
            "cache-control: max-age=60 | cache-control: No-Store",
            "no-store",
        ),
        ("", 200, "cache-control: private, max-age=60", "private"),
        ("", 200, "cache-control: private=\"set-cookie\", max-age=60", "stored"),
        ("", 200, "cache-control: no-cache | etag: \"v\"", "stored"),
        ("", 200, "cache-control: max-age=60 | vary: accept, *", "vary-star"),
        ("", 200, "cache-control: max-age=60 | vary: a=b", "vary-star"),
        (
            "cache-control: no-store",
            200,
            "cache-control: max-age=60",
            "request-no-store",
        ),
        // Section 3.5.
        ("authorization: a", 200, "cache-control: max-age=60", "authorization"),
        ("authorization: a", 200, "cache-control: max-age=60, public", "stored"),
        ("authorization: a", 200, "cache-control: s-maxage=60", "stored"),
        (
            "authorization: a",
            200,
            "cache-control: max-age=60, must-revalidate",
            "stored",
        ),
        (
            "authorization: a",
            200,
            "cache-control: max-age=60, proxy-revalidate",
            "authorization",
        ),
        // Section 5.2.2.3: who understands the status may set no-store aside.
        (
            "",
            200,
            "cache-control: must-understand, no-store, max-age=60",
            "stored",
        ),
        (
            "",
            299,
            "cache-control: must-understand, no-store, max-age=60",
            "no-store",
        ),
        ("", 299, "cache-control: must-understand, max-age=60", "status"),
        ("", 299, "cache-control: max-age=60", "stored"),
        ("", 299, "last-modified: Tue, 14 Nov 2023 12:13:20 GMT", "no-freshness"),
        ("", 302, "cache-control: max-age=60", "stored"),
        ("", 500, "cache-control: max-age=60", "stored"),
        ("", 304, "cache-control: max-age=60", "not-modified"),
        (
            "",
            206,
            "cache-control: max-age=60 | content-range: bytes 0-9/20",
            "partial",
        ),
        (
            "range: bytes=0-9",
            206,
            "cache-control: max-age=60 | content-range: bytes 0-9/20",
            "stored",
        ),
        ("range: bytes=0-9", 206, "cache-control: max-age=60", "partial"),
        ("", 101, "cache-control: max-age=60", "status"),
        // RFC 9213: the targeted field stands alone.
        (
            "",
            200,
            "cdn-cache-control: max-age=60 | cache-control: no-store",
            "stored",
        ),
        (
            "",
            200,
            "cdn-cache-control: no-store | cache-control: max-age=60",
            "no-store",
        ),
        (
            "",
            200,
            "cdn-cache-control: private | cache-control: max-age=60",
            "private",
        ),
        (
            "",
            200,
            "cdn-cache-control: max-age=60, &&& | cache-control: no-store",
            "no-store",
        ),
        (
            "",
            200,
            "cdn-cache-control: max-age=\"60\" | cache-control: max-age=9",
            "no-freshness",
        ),
    ] {
        assert_eq!(
            code(request, status, response, &policy),
            expected,
            "{request} / {status} {response}"
        );
    }
}

#[test]
fn how_long_it_is_fresh() {
    let silent = FreshnessPolicy::default();
    let generous = FreshnessPolicy {
        default_ttl_ms: 30_000,
        ttl_floor_ms: 2_000,
        ttl_ceiling_ms: 3_600_000,
        ..FreshnessPolicy::default()
    };
    for (policy, status, response, seconds, origin) in [
        (&silent, 200, "cache-control: max-age=60", 60, Origin::Explicit),
        (
            &silent,
            200,
            "cache-control: max-age=60, s-maxage=5",
            5,
            Origin::Explicit,
        ),
        (
            &silent,
            200,
            "cache-control: max-age=60, max-age=5",
            5,
            Origin::Explicit,
        ),
        (
            &silent,
            200,
            "cache-control: max-age=60 | expires: 0",
            60,
            Origin::Explicit,
        ),
        (
            &silent,
            200,
            "etag: \"v\" | cache-control: max-age=a",
            0,
            Origin::Explicit,
        ),
        (&silent, 200, "etag: \"v\" | expires: 0", 0, Origin::Explicit),
        (
            &silent,
            200,
            "date: Tue, 14 Nov 2023 22:13:20 GMT | expires: Tue, 14 Nov 2023 22:14:20 GMT",
            60,
            Origin::Explicit,
        ),
        (
            &silent,
            200,
            "cdn-cache-control: max-age=7 | cache-control: s-maxage=60",
            7,
            Origin::Explicit,
        ),
        (
            &silent,
            200,
            "cdn-cache-control: max-age=7 | expires: 0",
            7,
            Origin::Explicit,
        ),
        // A tenth of what has passed since the change, two minutes at most.
        (
            &silent,
            200,
            "last-modified: Tue, 14 Nov 2023 22:03:20 GMT",
            60,
            Origin::Heuristic,
        ),
        (
            &silent,
            200,
            "last-modified: Mon, 13 Nov 2023 22:03:20 GMT",
            120,
            Origin::Heuristic,
        ),
        (
            &generous,
            200,
            "last-modified: Mon, 13 Nov 2023 22:03:20 GMT",
            30,
            Origin::Heuristic,
        ),
        (&generous, 404, "", 30, Origin::Default),
        (&generous, 302, "cache-control: public", 30, Origin::Default),
        (&generous, 200, "cache-control: max-age=1", 2, Origin::Explicit),
        (
            &generous,
            200,
            "etag: \"v\" | cache-control: max-age=0",
            0,
            Origin::Explicit,
        ),
        (
            &generous,
            200,
            "cache-control: max-age=99999999999",
            3_600,
            Origin::Explicit,
        ),
    ] {
        let plan = judged("", status, response, policy).unwrap_or_else(|reason| panic!("{response}: {reason:?}"));
        assert_eq!(
            (plan.lifetime.ms, plan.lifetime.origin),
            (seconds * 1_000, origin),
            "{status} {response}"
        );
    }
    let cookie = code("", 200, "set-cookie: a", &generous);
    assert_eq!(cookie, "set-cookie", "no default lifetime for what sets a cookie");
}

#[test]
fn how_old_it_is_when_it_comes() {
    for (response, delay_s, age_s) in [
        ("", 0, 0),
        ("", 3, 3),
        ("age: 30", 3, 33),
        ("age: 30, 7200", 0, 30),
        ("age: 30 | age: 7200", 0, 30),
        ("age: a", 0, 0),
        ("age: -5", 0, 0),
        ("age: 1.5", 0, 0),
        ("age: 99999999999", 0, 1 << 31),
        ("date: Tue, 14 Nov 2023 22:12:20 GMT", 0, 60),
        ("date: Tue, 14 Nov 2023 22:12:20 GMT | age: 30", 0, 60),
        ("date: Tue, 14 Nov 2023 22:13:10 GMT | age: 30", 0, 30),
        ("date: Fri, 31 Dec 9999 23:59:59 GMT", 0, 0),
        ("date: yesterday", 0, 0),
    ] {
        let initial = age::initial(&fields(response), NOW - delay_s * 1_000, NOW);
        assert_eq!(initial.corrected_ms, age_s * 1_000, "{response} after {delay_s} s");
    }
}

#[test]
fn jitter_shortens_only_what_the_origin_did_not_say() {
    let policy = FreshnessPolicy {
        default_ttl_ms: 100_000,
        jitter_percent: 20,
        ..FreshnessPolicy::default()
    };
    let lifetime = |response: &str, jitter: u64| {
        let (request, response) = (fields(""), fields(response));
        let exchange = super::exchange(&request, 200, &response);
        crate::cache::storability::judge(&exchange, &policy, jitter)
            .expect("stored")
            .lifetime
            .ms
    };
    for jitter in [0, 1, 19_999, 20_000, u64::MAX] {
        assert!((80_000..=100_000).contains(&lifetime("", jitter)));
        assert_eq!(lifetime("cache-control: max-age=100", jitter), 100_000);
    }
    assert_ne!(lifetime("", 1), lifetime("", 15_000));
}

#[test]
fn what_an_unsafe_method_makes_untrue() {
    for (method, status, response, expected) in [
        (Method::parse(b"POST"), 200, "", vec!["/a"]),
        (Method::parse(b"DELETE"), 204, "location: /b", vec!["/a", "/b"]),
        (
            Method::parse(b"PUT"),
            201,
            "location: http://api.example/c | content-location: d",
            vec!["/a", "/c", "/d"],
        ),
        (
            Method::parse(b"PUT"),
            201,
            "location: http://other.example/c",
            vec!["/a"],
        ),
        (
            Method::parse(b"PUT"),
            201,
            "location: https://api.example/c",
            vec!["/a"],
        ),
        (Method::parse(b"POST"), 404, "location: /b", vec![]),
        (Method::parse(b"GET"), 200, "location: /b", vec![]),
        (Method::parse(b"BREW"), 200, "", vec!["/a"]),
    ] {
        let found = invalidation::targets(method, &TARGET, status, &fields(response));
        let paths: Vec<String> = found
            .iter()
            .map(|target| String::from_utf8_lossy(&target.path).into_owned())
            .collect();
        assert_eq!(paths, expected, "{method:?} {status} {response}");
    }
}

#[test]
fn tags_and_groups_are_read() {
    for (response, expected) in [
        ("surrogate-key: a b", vec!["a", "b"]),
        ("xkey: a | cache-tag: b, c", vec!["a", "b", "c"]),
        ("cache-groups: \"g\", \"h i\"", vec!["group:g", "group:h i"]),
        ("cache-groups: g h", vec![]),
        ("cache-tag: ,,", vec![]),
        ("surrogate-key: a,b\tc", vec!["a", "b", "c"]),
    ] {
        let tags: Vec<String> = groups::tags(&fields(response))
            .unwrap()
            .iter()
            .map(|tag| String::from_utf8_lossy(tag).into_owned())
            .collect();
        assert_eq!(tags, expected, "{response}");
    }
    assert_eq!(
        groups::invalidated(&fields("cache-group-invalidation: \"g\"")),
        [b"g".to_vec()]
    );
}

#[test]
fn what_could_not_be_purged_by_all_its_tags_is_not_stored() {
    let many = |count: usize| (0..count).map(|tag| format!("t{tag}")).collect::<Vec<_>>().join(" ");
    let long = |length: usize| "x".repeat(length);
    for (tags, stored) in [
        (many(groups::MAX_TAGS), true),
        (many(groups::MAX_TAGS + 1), false),
        ([many(groups::MAX_TAGS), " t0 t1".to_owned()].concat(), true),
        (long(groups::MAX_TAG_LEN), true),
        (long(groups::MAX_TAG_LEN + 1), false),
    ] {
        let response = format!("cache-control: max-age=60 | surrogate-key: {tags}");
        let plan = judged("", 200, &response, &FreshnessPolicy::default());
        assert_eq!(
            plan.err(),
            (!stored).then_some(super::NotStored::TooManyTags),
            "{} bytes",
            tags.len()
        );
    }
}
