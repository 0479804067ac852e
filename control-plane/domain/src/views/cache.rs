//! `GET /cache/stats` and `GET /cache/invalidation-stats`.

use super::hit_ratio::hit_ratio_of;
use super::{Part, hit_ratio, megabytes, per_second};
use crate::Millis;
use crate::cache::held::held_of;
use crate::cache::report::{self, LostHit, RouteCache};
use crate::fleet::Fleet;
use crate::telemetry::figure::{Figure, number};
use crate::telemetry::sum::Filter;
use optimizer_proto::codes::{TierResult, VerifyResult};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What is stored. Counts without a window are those since this control plane started.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheStats {
    /// Of the window, else of the last traffic, percent; 100 when there never was any.
    pub hit_ratio: Figure,
    /// Number of stored responses.
    pub size: u64,
    /// How many there may be.
    pub size_limit: u64,
    /// Memory of the stored responses, megabytes.
    pub memory_usage: Figure,
    /// How much it may be, megabytes.
    pub memory_limit: Figure,
    /// Evictions since the start.
    pub eviction_count: u64,
    /// Evictions in the window.
    pub recent_evictions: u64,
    /// Expired responses dropped since the start.
    pub expirations: u64,
    /// Responses stored since the start.
    pub stores: u64,
    /// Entries found damaged and dropped since the start.
    pub corrupt_slots: u64,
    /// The setting as written.
    pub default_ttl: String,
    /// Average age of what is stored, with its unit.
    pub average_age: String,
    /// Why responses were not stored or not used in the window, the most frequent first.
    pub not_used_because: Vec<NotUsed>,
    /// Hits lost in the window, by what they were lost to, the most first.
    pub lost_hits: Vec<LostHit>,
    /// Routes with traffic in the window, the busiest first.
    pub routes: Vec<RouteCache>,
    /// The same figures of each Envoy.
    pub envoys: Vec<EnvoyCache>,
    /// The part of the traffic that was asked for.
    pub filter: Part,
    /// The window asked for.
    pub window: String,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// A reason why responses were not stored or not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NotUsed {
    /// Code of the reason.
    pub reason: String,
    /// Number of requests.
    pub count: u64,
}

/// What one Envoy has stored.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnvoyCache {
    /// Instance id of the Envoy.
    pub envoy: String,
    /// Node id of the Envoy.
    pub node_id: String,
    /// Number of stored responses.
    pub size: u64,
    /// Memory of the stored responses, megabytes.
    pub memory_usage: Figure,
    /// Share of requests that the cache answers, percent.
    pub hit_ratio: Figure,
}

/// What was invalidated.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InvalidationStats {
    /// Events per second.
    pub invalidation_rate: Figure,
    /// Events in the window by cause; known causes are always listed. `purged-removed` counts entries that have gone.
    pub by_cause: BTreeMap<String, u64>,
    /// Events in the window.
    pub recent_invalidations: u64,
    /// Events since the start.
    pub invalidations: u64,
    /// The part of the traffic that was asked for.
    pub filter: Part,
    /// The window asked for.
    pub window: String,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// `GET /cache/stats`. `default_ttl` is the setting as written. Counts without a window are those since this control plane started.
#[must_use]
pub fn cache(fleet: &Fleet, filter: &Filter, default_ttl: &str, window_ms: Millis, now_ms: Millis) -> CacheStats {
    let window = fleet.recent_of(filter, window_ms, now_ms);
    // What is stored and evicted is counted per Envoy, not per route or upstream.
    let envoy = filter.envoy.clone();
    let whole = fleet.recent_of(
        &Filter {
            envoy,
            ..Filter::default()
        },
        window_ms,
        now_ms,
    );
    let totals = fleet.totals();
    let held = held_of(fleet, filter, now_ms);
    let age_ms = if held.entries == 0 {
        0.0
    } else {
        held.age_sum_ms as f64 / held.entries as f64
    };
    let envoys = fleet
        .present_of(filter, now_ms)
        .map(|(name, envoy)| EnvoyCache {
            envoy: name.to_owned(),
            node_id: envoy.node_id.clone(),
            size: envoy.gauges.cache_entries,
            memory_usage: megabytes(envoy.gauges.cache_bytes),
            hit_ratio: number(hit_ratio_of(&envoy.windows, window_ms, now_ms)),
        })
        .collect();
    let mut reasons: Vec<(&String, &u64)> = whole
        .reasons
        .iter()
        .filter(|(code, _)| code.parse::<TierResult>().is_err() && code.parse::<VerifyResult>().is_err())
        .collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let not_used = |(code, count): (&String, &u64)| NotUsed {
        reason: code.clone(),
        count: *count,
    };
    CacheStats {
        hit_ratio: number(hit_ratio(fleet, filter, &window, window_ms, now_ms)),
        size: held.entries,
        size_limit: held.limit_entries,
        memory_usage: megabytes(held.bytes),
        memory_limit: megabytes(held.limit_bytes),
        eviction_count: totals.cache.evictions,
        recent_evictions: whole.cache.evictions,
        expirations: totals.cache.expirations,
        stores: totals.cache.stores,
        corrupt_slots: totals.cache.corrupt_slots,
        default_ttl: default_ttl.to_owned(),
        average_age: format!("{}s", number(age_ms / 1_000.0)),
        not_used_because: reasons.into_iter().map(not_used).collect(),
        lost_hits: report::lost_hits(&whole),
        routes: report::by_route(&window),
        envoys,
        filter: super::shown(filter),
        window: super::seconds(window_ms),
        as_of: now_ms,
    }
}

/// `GET /cache/invalidation-stats`.
#[must_use]
pub fn invalidation(fleet: &Fleet, filter: &Filter, window_ms: Millis, now_ms: Millis) -> InvalidationStats {
    let envoy = filter.envoy.clone();
    let whole = Filter {
        envoy,
        ..Filter::default()
    };
    let window = fleet.recent_of(&whole, window_ms, now_ms);
    let covered_ms = fleet.covered_ms(&whole, window_ms, now_ms);
    InvalidationStats {
        invalidation_rate: number(per_second(window.cache.invalidations, covered_ms)),
        by_cause: report::invalidations(&window),
        recent_invalidations: window.cache.invalidations,
        invalidations: fleet.totals().cache.invalidations,
        filter: super::shown(filter),
        window: super::seconds(window_ms),
        as_of: now_ms,
    }
}
