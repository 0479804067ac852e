//! What Envoys hold in their caches at this moment.

use crate::Millis;
use crate::fleet::Fleet;
use crate::telemetry::sum::Filter;

/// What the present Envoys hold together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Stored responses.
    pub entries: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Limit on stored responses.
    pub limit_entries: u64,
    /// Limit on bytes.
    pub limit_bytes: u64,
    /// Ages added up.
    pub age_sum_ms: u64,
}

/// Adds up the gauges of the present Envoys.
#[must_use]
pub fn held(fleet: &Fleet, now_ms: Millis) -> Held {
    held_of(fleet, &Filter::default(), now_ms)
}

/// As [`held`], of the Envoy that is asked for.
#[must_use]
pub fn held_of(fleet: &Fleet, filter: &Filter, now_ms: Millis) -> Held {
    fleet
        .present_of(filter, now_ms)
        .fold(Held::default(), |sum, (_, envoy)| Held {
            entries: sum.entries.saturating_add(envoy.gauges.cache_entries),
            bytes: sum.bytes.saturating_add(envoy.gauges.cache_bytes),
            limit_entries: sum.limit_entries.saturating_add(envoy.gauges.cache_limit_entries),
            limit_bytes: sum.limit_bytes.saturating_add(envoy.gauges.cache_limit_bytes),
            age_sum_ms: sum.age_sum_ms.saturating_add(envoy.gauges.cache_age_sum_ms),
        })
}
