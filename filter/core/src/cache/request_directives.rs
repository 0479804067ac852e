//! What the client asks of the cache (RFC 9111 sections 5.2.1 and 5.4).

use super::policy::FreshnessPolicy;
use crate::http::cache_control::{CacheControl, MaxStale, Qualified};
use crate::http::fields::Fields;
use crate::http::list::members;

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
        let says = request.has(b"cache-control") || request.has(b"pragma");
        if !says || policy.ignore_request_cache_control {
            return Self::default();
        }
        let read = CacheControl::of(request);
        let pragma = !read.present
            && request
                .all(b"pragma")
                .flat_map(members)
                .any(|directive| directive.eq_ignore_ascii_case(b"no-cache"));
        Self {
            no_cache: read.no_cache != Qualified::Absent || pragma,
            no_store: read.no_store,
            only_if_cached: read.only_if_cached,
            max_age: read.max_age,
            min_fresh: read.min_fresh,
            max_stale: read.max_stale,
            stale_if_error: read.stale_if_error,
        }
    }
}
