//! What an operator decides beyond RFC 9111, compiled for the hot path.

use super::sharing::SharingPolicy;
use crate::Millis;

/// Which query parameters belong to the cache key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryPolicy {
    /// The query as it is.
    #[default]
    All,
    /// No query.
    None,
    /// Only parameters of these names, in their order.
    Include(Vec<Vec<u8>>),
    /// All but parameters of these names.
    Exclude(Vec<Vec<u8>>),
}

/// What the cache key is made of besides scheme, host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPolicy {
    /// Query parameters.
    pub query: QueryPolicy,
    /// Request fields whose values belong to the key (lower-case names).
    pub headers: Vec<Vec<u8>>,
    /// Cookies whose values belong to the key, hashed (case-sensitive names).
    pub cookies: Vec<Vec<u8>>,
    /// A hash of `Authorization` belongs to the key: every identity has its own stored responses.
    pub isolate_authorization: bool,
}

/// How long responses live, beyond what the origin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshnessPolicy {
    /// Freshness lifetime where the origin is silent and the status is cacheable by default; upper bound of heuristics. 0 = none.
    pub default_ttl_ms: Millis,
    /// Least lifetime of what is fresh at all; explicit `no-cache`, `max-age=0` and expired responses are not raised by it.
    pub ttl_floor_ms: Millis,
    /// Greatest lifetime.
    pub ttl_ceiling_ms: Millis,
    /// Lifetime in place of the origin's, whatever it is, for every response that may be stored.
    pub ttl_override_ms: Option<Millis>,
    /// Window where the origin gives none (RFC 5861 section 3).
    pub stale_while_revalidate_ms: Millis,
    /// Window where the origin gives none (RFC 5861 section 4).
    pub stale_if_error_ms: Millis,
    /// How stale a response may be when the upstream cannot be reached or the breaker is open (RFC 9111 section 4.2.4).
    pub max_stale_on_outage_ms: Millis,
    /// Share of the time since `Last-Modified`, 0..=100 (RFC 9111 section 4.2.2).
    pub heuristic_fraction_percent: u32,
    /// Lifetimes not given by the origin are shortened by up to this share, 0..=50, so that entries do not expire together.
    pub jitter_percent: u32,
    /// Greatest lifetime of errors that are not cacheable by default; 0 = they are not stored.
    pub error_ttl_ceiling_ms: Millis,
    /// Who shares what is stored.
    pub sharing: SharingPolicy,
    /// The client's `Cache-Control` and `Pragma` do not count, as in nginx.
    pub ignore_request_cache_control: bool,
    /// How long a response with a validator is kept for validation after its last other use.
    pub keep_for_validation_ms: Millis,
}

impl FreshnessPolicy {
    /// This policy without any freshness that the origin did not give. An override shortens what the origin gives, and never
    /// lengthens it.
    #[must_use]
    pub fn without_grants(&self) -> Self {
        Self {
            default_ttl_ms: 0,
            ttl_floor_ms: 0,
            ttl_override_ms: None,
            ttl_ceiling_ms: self.ttl_ceiling_ms.min(self.ttl_override_ms.unwrap_or(Millis::MAX)),
            heuristic_fraction_percent: 0,
            ..self.clone()
        }
    }
}

impl Default for FreshnessPolicy {
    fn default() -> Self {
        Self {
            default_ttl_ms: 0,
            ttl_floor_ms: 0,
            ttl_ceiling_ms: 30 * 86_400_000,
            ttl_override_ms: None,
            stale_while_revalidate_ms: 0,
            stale_if_error_ms: 0,
            max_stale_on_outage_ms: 0,
            heuristic_fraction_percent: 10,
            jitter_percent: 0,
            error_ttl_ceiling_ms: 10_000,
            sharing: SharingPolicy::default(),
            ignore_request_cache_control: false,
            keep_for_validation_ms: 3_600_000,
        }
    }
}
