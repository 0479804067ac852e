//! Constructing responses from the cache (RFC 9111 section 4): may the stored response answer this request, fresh or stale
//! (section 4.2.4, RFC 5861, RFC 8246)?

use super::policy::FreshnessPolicy;
use super::request_directives::RequestDirectives;
use super::stored_response::StoredView;
use crate::Millis;

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

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReuseReason {
    /// Fresh.
    Fresh,
    /// Stale, within the client's `max-stale`.
    MaxStale,
    /// Stale, within `stale-while-revalidate`.
    StaleWhileRevalidate,
    /// Stale, served because validation failed.
    StaleIfError,
    /// Stale, served because the upstream is out of reach.
    StaleOnOutage,
    /// Stale.
    Stale,
    /// Fresh but the response demands validation.
    NoCache,
    /// Fresh but the client demands validation.
    RequestNoCache,
    /// Fresh but older than the client's `max-age`.
    RequestMaxAge,
    /// Fresh but not for the client's `min-fresh`.
    RequestMinFresh,
    /// Marked stale by a soft purge.
    SoftPurged,
    /// Stored in what is now the future: the clock went back.
    ClockWentBack,
    /// Nothing suitable stored, and `only-if-cached`.
    OnlyIfCached,
}

impl ReuseReason {
    /// Stable code, kebab-case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::MaxStale => "max-stale",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::StaleOnOutage => "stale-on-outage",
            Self::Stale => "stale",
            Self::NoCache => "no-cache",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
            Self::SoftPurged => "soft-purged",
            Self::ClockWentBack => "clock-went-back",
            Self::OnlyIfCached => "only-if-cached",
        }
    }
}

/// A decision about one stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// What to do.
    pub action: Action,
    /// Why.
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
}

/// Decides about a stored response whose key and selecting fields match. `soft_purged`: a purge marked it stale.
#[must_use]
pub fn decide(
    stored: &StoredView<'_>,
    request: &RequestDirectives,
    policy: &FreshnessPolicy,
    soft_purged: bool,
    now_ms: Millis,
) -> Reuse {
    let _ = (stored, request, policy, soft_purged, now_ms);
    Reuse {
        action: Action::Validate,
        reason: ReuseReason::Stale,
        age_s: 0,
        ttl_s: 0,
    }
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
    let _ = (stored, request, policy, failure, now_ms);
    None
}
