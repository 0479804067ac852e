//! Freshness lifetime (RFC 9111 section 4.2.1, heuristic 4.2.2; RFC 9213 section 2.2).

use crate::Millis;

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
}
