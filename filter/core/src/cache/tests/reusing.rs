//! RFC 9111 sections 4, 4.2.4 and 5.2.1; RFC 5861; RFC 8246.

use super::{NOW, fields, stored};
use crate::cache::policy::FreshnessPolicy;
use crate::cache::request_directives::RequestDirectives;
use crate::cache::reuse::{Action, Failure, decide, on_failure};
use crate::cache::{StoredView, early};

#[test]
fn what_is_reused_and_why() {
    use Action::{GatewayTimeout, Serve, ServeAndRevalidate, Validate};
    let policy = FreshnessPolicy::default();
    for (response, request, after_s, action, reason) in [
        ("max-age=60", "", 59, Serve, "fresh"),
        ("max-age=60", "", 60, Validate, "stale"),
        ("max-age=60, immutable", "", 60, Validate, "stale"),
        ("max-age=60", "cache-control: no-cache", 1, Validate, "request-no-cache"),
        ("max-age=60", "pragma: no-cache", 1, Validate, "request-no-cache"),
        (
            "max-age=60",
            "pragma: no-cache | cache-control: max-age=60",
            1,
            Serve,
            "fresh",
        ),
        (
            "max-age=60",
            "cache-control: max-age=10",
            11,
            Validate,
            "request-max-age",
        ),
        ("max-age=60", "cache-control: max-age=10", 10, Serve, "fresh"),
        ("max-age=60", "cache-control: max-age=0", 1, Validate, "request-max-age"),
        (
            "max-age=60, immutable",
            "cache-control: max-age=10",
            11,
            Validate,
            "request-max-age",
        ),
        ("max-age=60", "cache-control: min-fresh=10", 50, Serve, "fresh"),
        (
            "max-age=60",
            "cache-control: min-fresh=10",
            51,
            Validate,
            "request-min-fresh",
        ),
        ("max-age=60", "cache-control: max-stale", 9_999, Serve, "max-stale"),
        ("max-age=60", "cache-control: max-stale=5", 65, Serve, "max-stale"),
        ("max-age=60", "cache-control: max-stale=5", 66, Validate, "stale"),
        (
            "max-age=60, must-revalidate",
            "cache-control: max-stale",
            61,
            Validate,
            "stale",
        ),
        (
            "max-age=60, proxy-revalidate",
            "cache-control: max-stale",
            61,
            Validate,
            "stale",
        ),
        ("s-maxage=60", "cache-control: max-stale", 61, Validate, "stale"),
        ("max-age=60", "cache-control: only-if-cached", 1, Serve, "fresh"),
        (
            "max-age=60",
            "cache-control: only-if-cached",
            61,
            GatewayTimeout,
            "stale",
        ),
        ("max-age=60, no-cache", "", 1, Validate, "no-cache"),
        ("max-age=60, no-cache=\"x-a\"", "", 1, Serve, "fresh"),
        (
            "max-age=60, stale-while-revalidate=30",
            "",
            89,
            ServeAndRevalidate,
            "stale-while-revalidate",
        ),
        ("max-age=60, stale-while-revalidate=30", "", 90, Validate, "stale"),
        (
            "max-age=60, stale-while-revalidate=30, must-revalidate",
            "",
            61,
            Validate,
            "stale",
        ),
        (
            "max-age=60, stale-while-revalidate=30",
            "cache-control: min-fresh=1",
            61,
            Validate,
            "stale",
        ),
        ("max-age=60", "", -61, Validate, "clock-went-back"),
        ("max-age=60", "", -59, Serve, "fresh"),
    ] {
        let bytes = stored("", 200, &format!("etag: \"v\" | cache-control: {response}"), &policy);
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let directives = RequestDirectives::of(&fields(request), &policy);
        let found = decide(&view, &directives, false, NOW.saturating_add_signed(after_s * 1_000));
        assert_eq!(
            (found.action, found.reason.as_str()),
            (action, reason),
            "{response} / {request} after {after_s} s"
        );
        let ignoring = FreshnessPolicy {
            ignore_request_cache_control: true,
            ..FreshnessPolicy::default()
        };
        assert_eq!(
            RequestDirectives::of(&fields(request), &ignoring),
            RequestDirectives::default()
        );
    }
}

#[test]
fn a_soft_purge_makes_stale_what_was_fresh() {
    let policy = FreshnessPolicy::default();
    let bytes = stored("", 200, "cache-control: max-age=60", &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let found = decide(&view, &RequestDirectives::default(), true, NOW + 1_000);
    assert_eq!((found.action, found.reason.as_str()), (Action::Validate, "soft-purged"));
}

#[test]
fn what_bridges_a_failure() {
    use Failure::{ServerError, Spared, Unreachable};
    let policy = FreshnessPolicy {
        max_stale_on_outage_ms: 300_000,
        ..FreshnessPolicy::default()
    };
    for (response, request, after_s, failure, reason) in [
        (
            "max-age=60, stale-if-error=100",
            "",
            160,
            ServerError,
            Some("stale-if-error"),
        ),
        ("max-age=60, stale-if-error=100", "", 161, ServerError, None),
        (
            "max-age=60",
            "cache-control: stale-if-error=5",
            65,
            ServerError,
            Some("stale-if-error"),
        ),
        ("max-age=60", "", 61, ServerError, None),
        ("max-age=60", "", 61, Unreachable, Some("stale-on-outage")),
        ("max-age=60", "", 360, Unreachable, Some("stale-on-outage")),
        ("max-age=60", "", 361, Unreachable, None),
        ("max-age=60, must-revalidate", "", 61, Unreachable, None),
        (
            "max-age=60, proxy-revalidate, stale-if-error=100",
            "",
            61,
            ServerError,
            None,
        ),
        ("s-maxage=60", "", 61, Unreachable, None),
        ("no-cache", "", 1, Unreachable, None),
        ("max-age=60", "cache-control: no-cache", 1, Unreachable, None),
        // Nothing has failed: the client's own bounds hold, which a failure would set aside.
        ("max-age=60", "", 61, Spared, Some("stale-on-outage")),
        (
            "max-age=60, stale-if-error=100",
            "cache-control: max-age=0",
            1,
            Unreachable,
            Some("stale-if-error"),
        ),
        (
            "max-age=60, stale-if-error=100",
            "cache-control: max-age=0",
            1,
            Spared,
            None,
        ),
        (
            "max-age=60, stale-if-error=100",
            "cache-control: max-age=5",
            5,
            Spared,
            Some("stale-if-error"),
        ),
        (
            "max-age=60, stale-if-error=100",
            "cache-control: min-fresh=1",
            61,
            Spared,
            None,
        ),
    ] {
        let bytes = stored("", 200, &format!("etag: \"v\" | cache-control: {response}"), &policy);
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let directives = RequestDirectives::of(&fields(request), &policy);
        let found = on_failure(&view, &directives, &policy, failure, NOW + after_s * 1_000);
        assert_eq!(
            found.map(|reuse| reuse.reason.as_str()),
            reason,
            "{response} / {request} after {after_s} s, {failure:?}"
        );
    }
}

#[test]
fn an_early_refresh_gets_likelier_towards_the_end() {
    let policy = FreshnessPolicy::default();
    let slow = {
        let (request, response) = (fields(""), fields("cache-control: max-age=60"));
        let exchange = super::Exchange {
            request_time_ms: NOW - 1_000,
            ..super::exchange(&request, 200, &response)
        };
        let plan = crate::cache::storability::judge(&exchange, &policy, 0).expect("stored");
        let mut encoder = crate::cache::Encoder::begin(b"key", &exchange, &plan, 10, 0).expect("a small head");
        encoder.append(b"0123456789");
        encoder.seal().expect("whole")
    };
    let quick = stored("", 200, "cache-control: max-age=60", &policy);
    let share = |bytes: &[u8], age_s: u64| {
        let view = StoredView::decode(bytes, true).expect("what was stored");
        let due = |n: u64| {
            early::is_due(
                &view,
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                NOW - 1_000 + age_s * 1_000,
            )
        };
        (1..=10_000).filter(|n| due(*n)).count()
    };
    // The chance is the power of e to minus the time left in fetch times.
    for (age_s, least, most) in [(0, 0, 0), (40, 0, 0), (50, 0, 5), (57, 400, 600), (59, 3_500, 3_900)] {
        let due = share(&slow, age_s);
        assert!((least..=most).contains(&due), "{due} of 10 000 at {age_s} s");
    }
    assert_eq!(share(&quick, 60), 0, "what is fetched in no time needs no head start");
}
