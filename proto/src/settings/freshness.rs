//! Freshness and staleness: RFC 9111 section 4, RFC 5861.

use serde_json::{Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader};

/// One day, milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Longest lifetime or stale window a document can ask for, milliseconds (30 days).
pub const MAX_TTL_MS: u64 = 30 * DAY_MS;

/// How long stored responses stay fresh, and how long stale ones may serve, for all routes without values of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Least freshness lifetime of a storable response, ms, 0..=30 d.
    pub ttl_floor_ms: u64,
    /// Greatest freshness lifetime, ms, 0..=30 d.
    pub ttl_ceiling_ms: u64,
    /// How long past freshness a response may serve while it is revalidated (RFC 5861 section 3) where the origin names
    /// no window, ms, 0..=30 d.
    pub stale_while_revalidate_ms: u64,
    /// How long past freshness a response may stand in for an error (RFC 5861 section 4) where the origin names no
    /// window, ms, 0..=30 d.
    pub stale_if_error_ms: u64,
    /// How long past freshness a response may serve while the breaker is open or the upstream unreachable, ms, 0..=30
    /// d.
    pub max_stale_on_outage_ms: u64,
    /// Greatest freshness lifetime of an error that is not cacheable by default (RFC 9110 section 15.1): 400, 500, 503 and the like,
    /// ms, 0..=30 d; 0 = such errors are not stored.
    pub error_ttl_ceiling_ms: u64,
    /// Heuristic freshness as a percentage of the time since Last-Modified (RFC 9111 section 4.2.2), 0..=100; 0 = none.
    pub heuristic_fraction_percent: u32,
    /// Greatest random shortening of a lifetime, percent, 0..=50, so that entries stored together do not expire
    /// together.
    pub jitter_percent: u32,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            ttl_floor_ms: 0,
            ttl_ceiling_ms: MAX_TTL_MS,
            stale_while_revalidate_ms: 0,
            stale_if_error_ms: 0,
            max_stale_on_outage_ms: 300_000,
            error_ttl_ceiling_ms: 10_000,
            heuristic_fraction_percent: 10,
            jitter_percent: 0,
        }
    }
}

impl Freshness {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let mut ttl = |name, default| object.duration(name, default, 0..=MAX_TTL_MS);
        let freshness = Self {
            ttl_floor_ms: ttl("ttl_floor", base.ttl_floor_ms),
            ttl_ceiling_ms: ttl("ttl_ceiling", base.ttl_ceiling_ms),
            stale_while_revalidate_ms: ttl("stale_while_revalidate", base.stale_while_revalidate_ms),
            stale_if_error_ms: ttl("stale_if_error", base.stale_if_error_ms),
            max_stale_on_outage_ms: ttl("max_stale_on_outage", base.max_stale_on_outage_ms),
            error_ttl_ceiling_ms: ttl("error_ttl_ceiling", base.error_ttl_ceiling_ms),
            heuristic_fraction_percent: object.integer(
                "heuristic_fraction_percent",
                base.heuristic_fraction_percent,
                0..=100,
            ),
            jitter_percent: object.integer("jitter_percent", base.jitter_percent, 0..=50),
        };
        object.finish();
        freshness
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "ttl_floor": format_duration(self.ttl_floor_ms),
            "ttl_ceiling": format_duration(self.ttl_ceiling_ms),
            "stale_while_revalidate": format_duration(self.stale_while_revalidate_ms),
            "stale_if_error": format_duration(self.stale_if_error_ms),
            "max_stale_on_outage": format_duration(self.max_stale_on_outage_ms),
            "error_ttl_ceiling": format_duration(self.error_ttl_ceiling_ms),
            "heuristic_fraction_percent": self.heuristic_fraction_percent,
            "jitter_percent": self.jitter_percent,
        })
    }
}
