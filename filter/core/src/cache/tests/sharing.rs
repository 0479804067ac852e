//! Who shares what is stored: RFC 9111 sections 3, 3.5 and 7; the CORS protocol.

use super::{exchange, fields, judged, stored};
use crate::cache::policy::FreshnessPolicy;
use crate::cache::sharing::{ClientState, SharingPolicy, Withheld, is_credential};
use crate::cache::validation::{Freshened, freshen};
use crate::cache::{NotStored, StoredView};

fn generous() -> FreshnessPolicy {
    FreshnessPolicy {
        default_ttl_ms: 900_000,
        ..FreshnessPolicy::default()
    }
}

fn code(request: &str, response: &str, policy: &FreshnessPolicy) -> &'static str {
    judged(request, 200, response, policy).map_or_else(NotStored::as_str, |_| "stored")
}

const MODIFIED: &str = "last-modified: Mon, 01 Jan 2018 00:00:00 GMT";

#[test]
fn freshness_that_the_origin_did_not_give_is_not_for_credentials() {
    let overriding = FreshnessPolicy {
        ttl_override_ms: Some(600_000),
        ..FreshnessPolicy::default()
    };
    let built_in = FreshnessPolicy::default();
    for credential in [
        "cookie: s=alice",
        "proxy-authorization: a",
        "x-api-key: a",
        "api-key: a",
        "apikey: a",
        "x-auth-token: a",
        "x-access-token: a",
        "x-amz-security-token: a",
        "x-goog-api-key: a",
        "x-csrf-token: a",
        "private-token: a",
        "ocp-apim-subscription-key: a",
        "x-forwarded-user: a",
        "x-forwarded-client-cert: a",
    ] {
        for (response, policy) in [
            (MODIFIED, &built_in),
            ("etag: \"v\"", &built_in),
            ("cache-control: no-cache | etag: \"v\"", &built_in),
            ("cache-control: max-age=0 | etag: \"v\"", &built_in),
            ("cache-control: public | etag: \"v\"", &built_in),
            (MODIFIED, &generous()),
            ("", &generous()),
            ("", &overriding),
        ] {
            assert_eq!(
                code(credential, response, policy),
                "credentials",
                "{credential} / {response}"
            );
        }
        assert_eq!(code(credential, "", &built_in), "no-freshness");
        for response in [
            "cache-control: max-age=60",
            "cache-control: s-maxage=60",
            "cache-control: max-age=0, stale-while-revalidate=60",
        ] {
            assert_eq!(
                code(credential, response, &generous()),
                "stored",
                "{credential} / {response}"
            );
        }
    }
    assert_eq!(
        code("cookie: a", "vary: cookie", &generous()),
        "stored",
        "selected by it"
    );
    assert_eq!(
        code("cookie: a | x-api-key: b", "vary: cookie", &generous()),
        "credentials"
    );
    assert_eq!(
        code("authorization: a", "cache-control: public", &generous()),
        "credentials"
    );
    for name in [
        "accept",
        "user-agent",
        "x-tenant",
        "referer",
        "accept-encoding",
        "origin",
        "x-request-id",
    ] {
        assert!(!is_credential(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_route_says_otherwise() {
    let with = |sharing: SharingPolicy| FreshnessPolicy { sharing, ..generous() };
    let opted_in = with(SharingPolicy {
        with_credentials: true,
        ..SharingPolicy::default()
    });
    assert_eq!(code("cookie: a", "", &opted_in), "stored");
    let keyed = with(SharingPolicy {
        keyed: vec![b"cookie".to_vec()],
        ..SharingPolicy::default()
    });
    assert_eq!(code("cookie: a", "", &keyed), "stored");
    assert_eq!(code("cookie: a | x-api-key: b", "", &keyed), "credentials");
    let more = with(SharingPolicy {
        credential_headers: vec![b"x-own".to_vec()],
        ..SharingPolicy::default()
    });
    assert_eq!(code("x-own: a", "", &more), "credentials");
    assert_eq!(code("x-own: a", "", &generous()), "stored");
}

#[test]
fn a_raised_lifetime_is_granted_and_credentials_have_the_origins_own() {
    let floor = FreshnessPolicy {
        ttl_floor_ms: 60_000,
        ..FreshnessPolicy::default()
    };
    let short = "cache-control: max-age=1";
    let plain = judged("", 200, short, &floor).expect("stored");
    assert_eq!((plain.lifetime.ms, plain.granted), (60_000, true));
    let own = judged("cookie: a", 200, short, &floor).expect("stored");
    assert_eq!((own.lifetime.ms, own.granted), (1_000, false));
    // An override shortens for everybody, and lengthens for those without credentials.
    let overriding = FreshnessPolicy {
        ttl_override_ms: Some(5_000),
        ..FreshnessPolicy::default()
    };
    for (response, ms) in [(short, 1_000), ("cache-control: max-age=60", 5_000)] {
        let plan = judged("cookie: a", 200, response, &overriding).expect("stored");
        assert_eq!((plan.lifetime.ms, plan.granted), (ms, false), "{response}");
    }
}

#[test]
fn what_is_granted_does_not_answer_credentials() {
    let floor = FreshnessPolicy {
        ttl_floor_ms: 60_000,
        ..FreshnessPolicy::default()
    };
    for (response, policy, withheld) in [
        ("cache-control: max-age=60", generous(), false),
        (MODIFIED, FreshnessPolicy::default(), true),
        ("", generous(), true),
        ("cache-control: stale-while-revalidate=60", generous(), true),
        ("cache-control: max-age=1", floor, true),
        (
            "cache-control: no-cache | etag: \"v\"",
            FreshnessPolicy::default(),
            true,
        ),
        ("vary: cookie", generous(), false),
    ] {
        let bytes = stored("", 200, response, &policy);
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let found = policy.sharing.withholds(&view, &fields("cookie: s=bob"));
        assert_eq!(found, withheld.then_some(Withheld::Credentials), "{response}");
        assert_eq!(
            policy.sharing.withholds(&view, &fields("accept: */*")),
            None,
            "{response}"
        );
    }
}

#[test]
fn allowed_origins_select() {
    let policy = FreshnessPolicy::default();
    let (a, b) = ("origin: https://a.example", "origin: https://b.example");
    for (request, response, selected, other, withheld) in [
        (a, "access-control-allow-origin: https://a.example", true, b, None),
        (a, "access-control-allow-origin: https://fixed.example", true, b, None),
        (a, "timing-allow-origin: https://a.example", true, b, None),
        ("origin: null", "access-control-allow-origin: null", true, a, None),
        (a, "access-control-allow-origin: *", false, b, None),
        (a, "x-none: 1", false, b, None),
        (a, "access-control-allow-origin: *", false, "x: y", None),
        ("", "access-control-allow-origin: *", false, a, None),
        ("", "x-none: 1", false, a, Some(Withheld::Origin)),
        ("", "x-none: 1", false, "x: y", None),
        ("", "access-control-allow-origin: https://a.example", false, a, None),
        (
            "",
            "access-control-allow-origin: https://a.example",
            false,
            b,
            Some(Withheld::Origin),
        ),
        ("", "vary: origin", true, a, None),
    ] {
        let bytes = stored(
            request,
            200,
            &format!("cache-control: max-age=60 | {response}"),
            &policy,
        );
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let names: Vec<&[u8]> = view.selecting().map(|(name, _)| name).collect();
        assert_eq!(names.contains(&&b"origin"[..]), selected, "{request} / {response}");
        let found = policy.sharing.withholds(&view, &fields(other));
        assert_eq!(found, withheld, "{request} / {response} / {other}");
    }
}

#[test]
fn what_is_for_one_client_is_left_out() {
    let strip = FreshnessPolicy {
        sharing: SharingPolicy {
            client_state: ClientState::Strip,
            ..SharingPolicy::default()
        },
        ..FreshnessPolicy::default()
    };
    let response = "cache-control: max-age=60 | etag: \"v\" | set-cookie: s=1 | set-cookie: t=2 | x-request-id: 7 | x-kept: 1 \
        | traceparent: 00-2 | tracestate: a=b | traceresponse: 00-3 | www-authenticate: Negotiate x | authentication-info: y | x-envoy-upstream-canary: true";
    let bytes = stored("x-request-id: 7 | traceparent: 00-1", 200, response, &strip);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let names: Vec<String> = view
        .fields()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(names, ["cache-control", "etag", "x-kept"]);
    let (request, told) = (
        fields("x-request-id: 8"),
        fields("set-cookie: s=9 | x-request-id: 8 | x-kept: 2"),
    );
    let seen = exchange(&request, 304, &told);
    let Freshened::Store { bytes, .. } = freshen(&view, &seen, &strip, 0, 0) else {
        panic!("not freshened");
    };
    let fresh = StoredView::decode(&bytes, true).expect("what was freshened");
    assert_eq!((fresh.get(b"set-cookie"), fresh.get(b"x-request-id")), (None, None));
    assert_eq!(fresh.get(b"x-kept"), Some(&b"2"[..]));
    let share = FreshnessPolicy {
        sharing: SharingPolicy {
            client_state: ClientState::Share,
            ..SharingPolicy::default()
        },
        ..FreshnessPolicy::default()
    };
    let bytes = stored("", 200, response, &share);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    assert_eq!(view.get(b"set-cookie"), Some(&b"s=1"[..]));
    assert_eq!(view.get(b"x-request-id"), Some(&b"7"[..]), "of nobody's request");
}
