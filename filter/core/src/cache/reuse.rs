//! Constructing responses from the cache (RFC 9111 section 4): may the stored response answer this request, fresh or stale
//! (section 4.2.4, RFC 5861, RFC 8246)?

use super::policy::FreshnessPolicy;
use super::request_directives::RequestDirectives;
use super::stored_response::StoredView;
use crate::Millis;
use crate::http::cache_control::MaxStale;
use optimizer_proto::codes;

/// What to do with a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Serve it.
    Serve,
    /// Serve it and revalidate in the background.
    ServeAndRevalidate,
    /// Validate it first.
    Validate,
    /// Answer 504: the client wants nothing forwarded (`only-if-cached`).
    GatewayTimeout,
}

codes! {
    /// The reason.
    ReuseReason {
        /// Fresh.
        Fresh = "fresh",
        /// Stale, within the client's `max-stale`.
        MaxStale = "max-stale",
        /// Stale, within `stale-while-revalidate`.
        StaleWhileRevalidate = "stale-while-revalidate",
        /// Stale, served because validation failed.
        StaleIfError = "stale-if-error",
        /// Stale, served because the upstream is out of reach.
        StaleOnOutage = "stale-on-outage",
        /// Stale.
        Stale = "stale",
        /// Fresh but the response demands validation.
        NoCache = "no-cache",
        /// Fresh but the client demands validation.
        RequestNoCache = "request-no-cache",
        /// Fresh but older than the client's `max-age`.
        RequestMaxAge = "request-max-age",
        /// Fresh but not for the client's `min-fresh`.
        RequestMinFresh = "request-min-fresh",
        /// Marked stale by a soft purge.
        SoftPurged = "soft-purged",
        /// Stored in what is now the future: the clock went back.
        ClockWentBack = "clock-went-back",
        /// Nothing suitable stored, and `only-if-cached`.
        OnlyIfCached = "only-if-cached",
    }
}

/// A decision about one stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// What to do.
    pub action: Action,
    /// The reason.
    pub reason: ReuseReason,
    /// Current age, whole seconds, for `Age`.
    pub age_s: u64,
    /// Remaining freshness, whole seconds, negative when stale, for `Cache-Status`.
    pub ttl_s: i64,
}

/// What happened to the request that was forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The origin answered with a server error: 500, 502, 503, 504.
    ServerError,
    /// No answer: refused, reset, timed out, or the breaker is open.
    Unreachable,
    /// None: the upstream is well again, and a request that can wait is not sent.
    Spared,
}

/// Decides about a stored response whose key and selecting fields match. `soft_purged`: a purge marked it stale.
#[must_use]
pub fn decide(stored: &StoredView<'_>, request: &RequestDirectives, soft_purged: bool, now_ms: Millis) -> Reuse {
    let age_ms = stored.age_ms(now_ms);
    let (action, reason) = judge(stored, request, soft_purged, age_ms, now_ms);
    let action = match action {
        Action::Validate if request.only_if_cached => Action::GatewayTimeout,
        other => other,
    };
    figures(stored, action, reason, age_ms)
}

/// After a forwarded request failed: may the stored response answer although stale?
#[must_use]
pub fn on_failure(
    stored: &StoredView<'_>,
    request: &RequestDirectives,
    policy: &FreshnessPolicy,
    failure: Failure,
    now_ms: Millis,
) -> Option<Reuse> {
    if stored.must_revalidate() || stored.no_cache() || request.no_cache {
        return None;
    }
    let age_ms = stored.age_ms(now_ms);
    let stale_ms = age_ms.saturating_sub(stored.lifetime_ms());
    // Where nothing has failed, what the client says of ages holds as ever.
    let too_old = request.max_age.is_some_and(|max| age_ms > u64::from(max) * 1_000);
    if failure == Failure::Spared && (too_old || request.min_fresh.is_some()) {
        return None;
    }
    let requested_ms = request.stale_if_error.map_or(0, |seconds| u64::from(seconds) * 1_000);
    if stale_ms <= stored.stale_if_error_ms().max(requested_ms) {
        return Some(figures(stored, Action::Serve, ReuseReason::StaleIfError, age_ms));
    }
    if failure != Failure::ServerError && stale_ms <= policy.max_stale_on_outage_ms {
        return Some(figures(stored, Action::Serve, ReuseReason::StaleOnOutage, age_ms));
    }
    None
}

fn figures(stored: &StoredView<'_>, action: Action, reason: ReuseReason, age_ms: Millis) -> Reuse {
    let seconds = |ms: Millis| i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let left_s = seconds(stored.lifetime_ms()).saturating_sub(seconds(age_ms));
    Reuse {
        action,
        reason,
        age_s: age_ms / 1_000,
        // Stale by less than a second is stale.
        ttl_s: if age_ms >= stored.lifetime_ms() {
            left_s.min(-1)
        } else {
            left_s
        },
    }
}

fn judge(
    stored: &StoredView<'_>,
    request: &RequestDirectives,
    soft_purged: bool,
    age_ms: Millis,
    now_ms: Millis,
) -> (Action, ReuseReason) {
    /// A clock that is set back by less is no reason to ask the origin.
    const CLOCK_SLACK_MS: Millis = 60_000;
    if request.no_cache {
        return (Action::Validate, ReuseReason::RequestNoCache);
    }
    if stored.no_cache() {
        return (Action::Validate, ReuseReason::NoCache);
    }
    if stored.response_time_ms() > now_ms.saturating_add(CLOCK_SLACK_MS) {
        return (Action::Validate, ReuseReason::ClockWentBack);
    }
    if request.max_age.is_some_and(|max| age_ms > u64::from(max) * 1_000) {
        return (Action::Validate, ReuseReason::RequestMaxAge);
    }
    let lifetime_ms = stored.lifetime_ms();
    let is_fresh = lifetime_ms > age_ms && !soft_purged;
    if is_fresh {
        let left = lifetime_ms - age_ms;
        if request.min_fresh.is_some_and(|min| left < u64::from(min) * 1_000) {
            return (Action::Validate, ReuseReason::RequestMinFresh);
        }
        return (Action::Serve, ReuseReason::Fresh);
    }
    let stale_reason = if soft_purged {
        ReuseReason::SoftPurged
    } else {
        ReuseReason::Stale
    };
    if stored.must_revalidate() || request.min_fresh.is_some() {
        return (Action::Validate, stale_reason);
    }
    let stale_ms = age_ms.saturating_sub(lifetime_ms);
    match request.max_stale {
        Some(MaxStale::Any) => return (Action::Serve, ReuseReason::MaxStale),
        Some(MaxStale::Seconds(seconds)) if stale_ms <= u64::from(seconds) * 1_000 => {
            return (Action::Serve, ReuseReason::MaxStale);
        }
        _ => {}
    }
    if stale_ms < stored.stale_while_revalidate_ms() {
        return (Action::ServeAndRevalidate, ReuseReason::StaleWhileRevalidate);
    }
    (Action::Validate, stale_reason)
}
