//! RFC 9110 section 15.1, RFC 6585: responses that are not stored whatever their freshness, and errors that are not stored for long.

use super::{fields, judged};
use crate::cache::NotStored;
use crate::cache::policy::FreshnessPolicy;
use crate::cache::sharing::{bypass, bypass_with_content};

#[test]
fn statuses_and_how_long_they_are_stored() {
    let policy = FreshnessPolicy {
        default_ttl_ms: 900_000,
        ..FreshnessPolicy::default()
    };
    let overriding = FreshnessPolicy {
        ttl_override_ms: Some(600_000),
        ..FreshnessPolicy::default()
    };
    // Seconds with an explicit hour; with a default of 15 minutes; with an override of ten. `None`: not stored.
    for (statuses, explicit, granted, overridden) in [
        (
            &[200_u16, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501][..],
            Some(3_600),
            Some(900),
            Some(600),
        ),
        // An override is for what is cacheable by default, and for what the origin calls cacheable.
        (&[299, 302, 303, 307], Some(3_600), None, None),
        (&[400, 451, 499, 500, 502, 503, 504, 599], Some(10), None, None),
        (
            &[
                226, 401, 402, 403, 406, 407, 408, 409, 411, 412, 413, 415, 416, 417, 418, 421, 422, 423, 424, 425,
                426, 428, 429, 431, 511,
            ],
            None,
            None,
            None,
        ),
    ] {
        for status in statuses {
            let lasts = |response: &str, policy: &FreshnessPolicy| {
                let plan = judged("", *status, response, policy).ok()?;
                Some(plan.lifetime.ms / 1_000)
            };
            assert_eq!(
                lasts("cache-control: max-age=3600", &policy),
                explicit,
                "{status} explicit"
            );
            assert_eq!(lasts("", &policy), granted, "{status} granted");
            assert_eq!(lasts("", &overriding), overridden, "{status} overridden");
        }
    }
    let old = "last-modified: Mon, 01 Jan 2018 00:00:00 GMT";
    for (response, credentials, found) in [
        (format!("cache-control: public | {old}"), "", Ok(10_000)),
        (
            format!("cache-control: public | {old}"),
            "cookie: a",
            Err("credentials"),
        ),
        (old.to_owned(), "", Err("no-freshness")),
        ("cache-control: public".to_owned(), "", Err("no-freshness")),
    ] {
        let plan = judged(credentials, 599, &response, &policy);
        assert_eq!(
            plan.map(|plan| plan.lifetime.ms).map_err(NotStored::as_str),
            found,
            "{response}"
        );
    }
    let switched_off = FreshnessPolicy {
        error_ttl_ceiling_ms: 0,
        ..FreshnessPolicy::default()
    };
    let found = judged(
        "",
        503,
        "etag: \"v\" | cache-control: max-age=60, stale-if-error=60",
        &switched_off,
    );
    assert_eq!(found.map(drop), Err(NotStored::NoFreshness));
}

#[test]
fn an_error_outlives_its_lifetime_in_no_case() {
    let policy = FreshnessPolicy {
        stale_while_revalidate_ms: 60_000,
        stale_if_error_ms: 60_000,
        max_stale_on_outage_ms: 60_000,
        ..FreshnessPolicy::default()
    };
    let plan = judged("", 503, "cache-control: max-age=5, stale-if-error=60", &policy).expect("stored");
    assert_eq!((plan.lifetime.ms, plan.must_revalidate), (5_000, true));
}

#[test]
fn what_speaks_of_one_exchange_is_not_stored() {
    let policy = FreshnessPolicy::default();
    for (field, expected) in [
        ("set-cookie: a=b", "set-cookie"),
        ("x-envoy-immediate-health-check-fail: true", "envoy-signal"),
        ("x-envoy-degraded: true", "envoy-signal"),
        ("x-envoy-overloaded: true", "envoy-signal"),
        ("x-envoy-local-overloaded: true", "envoy-signal"),
        ("x-envoy-ratelimited: true", "envoy-signal"),
        ("x-envoy-upstream-canary: true", "stored"),
    ] {
        for freshness in ["max-age=60", "public, max-age=60", "s-maxage=60"] {
            let response = format!("cache-control: {freshness} | {field}");
            let found = judged("", 200, &response, &policy).map_or_else(NotStored::as_str, |_| "stored");
            assert_eq!(found, expected, "{response}");
        }
    }
}

#[test]
fn requests_with_content_or_another_method_pass_by() {
    for (request, follows, expected) in [
        ("", false, None),
        ("content-length: 0", false, None),
        ("content-length: 0", true, None),
        ("content-length: 00", true, None),
        ("content-length: 5", true, Some("request-content")),
        ("content-length: x", true, Some("request-content")),
        ("transfer-encoding: chunked", true, Some("request-content")),
        ("transfer-encoding: chunked", false, Some("request-content")),
        // HTTP/2 needs neither of the two.
        ("", true, Some("request-content")),
        ("x-http-method-override: POST", false, Some("method-override")),
        ("x-http-method: POST", false, Some("method-override")),
        ("x-method-override: GET", false, Some("method-override")),
        (
            "x-envoy-original-dst-host: 10.0.0.1:80",
            false,
            Some("original-destination"),
        ),
    ] {
        let fields = fields(request);
        let refused = bypass(&fields).or_else(|| bypass_with_content(&fields, follows));
        assert_eq!(refused, expected, "{request} {follows}");
    }
}
