//! Freshness and staleness: RFC 9111 section 4, RFC 5861.

use super::duration::DAY_MS;
use super::rows::{Topic, settings};
use super::scalars::{duration, percent};

/// One day, milliseconds.
/// Longest lifetime or stale window a document can ask for, milliseconds (30 days).
pub const MAX_TTL_MS: u64 = 30 * DAY_MS;

settings! {
    /// How long stored responses stay fresh, and how long stale ones may serve, for all routes without values of their own.
    Freshness {
        /// Least freshness lifetime of a storable response.
        "ttl_floor" => ttl_floor_ms: u64 = 0, duration(0..=MAX_TTL_MS), example "1s";
        /// Greatest freshness lifetime.
        "ttl_ceiling" => ttl_ceiling_ms: u64 = MAX_TTL_MS, duration(0..=MAX_TTL_MS), example "24h";
        /// How long past freshness a response may serve while it is revalidated (RFC 5861 section 3) where the origin names no window.
        "stale_while_revalidate" => stale_while_revalidate_ms: u64 = 0, duration(0..=MAX_TTL_MS), example "30s";
        /// How long past freshness a response may stand in for an error (RFC 5861 section 4) where the origin names no window.
        "stale_if_error" => stale_if_error_ms: u64 = 0, duration(0..=MAX_TTL_MS), example "5m";
        /// How long past freshness a response may serve while the breaker is open or the upstream unreachable.
        "max_stale_on_outage" => max_stale_on_outage_ms: u64 = 300_000, duration(0..=MAX_TTL_MS), example "1h";
        /// Greatest freshness lifetime of an error that is not cacheable by default (RFC 9110 section 15.1): 400, 500, 503 and the like.
        /// 0s: such errors are not stored.
        "error_ttl_ceiling" => error_ttl_ceiling_ms: u64 = 10_000, duration(0..=MAX_TTL_MS), example "30s";
        /// Heuristic freshness as a part of the time since Last-Modified (RFC 9111 section 4.2.2). 0: none.
        "heuristic_fraction_percent" => heuristic_fraction_percent: u32 = 10, percent(0..=100), example 20;
        /// Greatest random shortening of a lifetime, so that entries stored together do not expire together.
        "jitter_percent" => jitter_percent: u32 = 0, percent(0..=50), example 5;
    }
}

impl Topic for Freshness {}
