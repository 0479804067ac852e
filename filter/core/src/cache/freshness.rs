//! Freshness lifetime (RFC 9111 section 4.2.1, heuristic 4.2.2; RFC 9213 section 2.2).

use super::policy::FreshnessPolicy;
use crate::Millis;
use crate::http::cache_control::CacheControl;
use crate::http::date;
use crate::http::fields::Fields;

/// Where a freshness lifetime came from, in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The operator's override.
    Override,
    /// A targeted field, `s-maxage`, `max-age` or `Expires`.
    Explicit,
    /// A share of the time since `Last-Modified`.
    Heuristic,
    /// The operator's default for silent origins.
    Default,
    /// No lifetime at all: stale from the start.
    None,
}

/// A freshness lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// From the response's generation on.
    pub ms: Millis,
    /// Where it came from.
    pub origin: Origin,
    /// The operator's floor has lengthened it.
    pub raised: bool,
}

impl Lifetime {
    /// True when it is longer than the origin has said.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.ms > 0 && (self.origin != Origin::Explicit || self.raised)
    }

    /// The same, no longer than `most_ms`.
    #[must_use]
    pub fn at_most(self, most_ms: Millis) -> Self {
        Self {
            ms: self.ms.min(most_ms),
            ..self
        }
    }
}

/// Longest heuristic lifetime where the operator has set no default one: two minutes. An origin that sends `Last-Modified` and
/// nothing else has allowed a guess (RFC 9111 section 4.2.2), not a long one.
const HEURISTIC_MOST_MS: Millis = 120_000;

/// Whether a status is cacheable by default (RFC 9110 section 15.1), so that it may live without an explicit lifetime.
#[must_use]
pub fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The freshness lifetime of a response. `date_ms` is its `Date`; `jitter` any number.
#[must_use]
pub fn lifetime(
    status: u16,
    response: &Fields<'_>,
    directives: &CacheControl,
    policy: &FreshnessPolicy,
    date_ms: Millis,
    jitter: u64,
) -> Lifetime {
    let explicit = directives.s_maxage.is_some() || directives.max_age.is_some() || response.has(b"expires");
    // What is cacheable only on the origin's word needs that.
    let may_override = is_heuristically_cacheable(status) || explicit || directives.public;
    if let Some(ms) = policy.ttl_override_ms.filter(|_| may_override) {
        return Lifetime {
            ms,
            origin: Origin::Override,
            raised: false,
        };
    }
    let bounded = |ms: Millis, origin| {
        let raised = if ms > 0 { ms.max(policy.ttl_floor_ms) } else { 0 };
        Lifetime {
            ms: raised.min(policy.ttl_ceiling_ms),
            origin,
            raised: raised > ms,
        }
    };
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return bounded(u64::from(seconds) * 1_000, Origin::Explicit);
    }
    if let Some(expires) = response.get(b"expires") {
        // Anything that is no date, above all "0", means already expired (RFC 9111 section 5.3).
        let ms = date::parse(expires, date_ms).map_or(0, |expires| expires.saturating_sub(date_ms));
        return bounded(ms, Origin::Explicit);
    }
    let none = Lifetime {
        ms: 0,
        origin: Origin::None,
        raised: false,
    };
    if !(is_heuristically_cacheable(status) || directives.public) {
        return none;
    }
    let modified = response
        .get(b"last-modified")
        .and_then(|text| date::parse(text, date_ms));
    let (ms, origin) = match modified {
        Some(modified) => {
            let share = date_ms.saturating_sub(modified) / 100 * u64::from(policy.heuristic_fraction_percent);
            let most = if policy.default_ttl_ms > 0 {
                policy.default_ttl_ms
            } else {
                HEURISTIC_MOST_MS
            };
            (share.min(most), Origin::Heuristic)
        }
        None if policy.default_ttl_ms == 0 => return none,
        None => (policy.default_ttl_ms, Origin::Default),
    };
    let spread = ms / 100 * u64::from(policy.jitter_percent.min(50));
    bounded(ms - if spread == 0 { 0 } else { jitter % spread }, origin)
}
