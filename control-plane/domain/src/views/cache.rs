//! `GET /cache/stats` and `GET /cache/invalidation-stats`.

use super::performance::hit_ratio_of;
use super::{hit_ratio, megabytes, number, per_second};
use crate::Millis;
use crate::cache_report;
use crate::fleet::Fleet;
use crate::sum::Filter;
use serde_json::{Value, json};

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

/// `GET /cache/stats`. `default_ttl` is the setting as written. Counts without a window are those since this control plane started.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn cache(fleet: &Fleet, filter: &Filter, default_ttl: &str, window_ms: Millis, now_ms: Millis) -> Value {
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
    let envoys: Vec<Value> = fleet
        .present_of(filter, now_ms)
        .map(|(name, envoy)| {
            json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "size": envoy.gauges.cache_entries,
                "memory_usage": megabytes(envoy.gauges.cache_bytes),
                "hit_ratio": number(hit_ratio_of(&envoy.windows, window_ms, now_ms)),
            })
        })
        .collect();
    let mut reasons: Vec<(&String, &u64)> = whole
        .reasons
        .iter()
        .filter(|(code, _)| !code.starts_with("tier-"))
        .collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    json!({
        "hit_ratio": number(hit_ratio(fleet, filter, &window, window_ms, now_ms)),
        "size": held.entries,
        "size_limit": held.limit_entries,
        "memory_usage": megabytes(held.bytes),
        "memory_limit": megabytes(held.limit_bytes),
        "eviction_count": totals.cache.evictions,
        "recent_evictions": whole.cache.evictions,
        "expirations": totals.cache.expirations,
        "stores": totals.cache.stores,
        "corrupt_slots": totals.cache.corrupt_slots,
        "default_ttl": default_ttl,
        "average_age": format!("{}s", number(age_ms / 1_000.0)),
        "not_used_because": reasons.into_iter().map(|(code, count)| json!({"reason": code, "count": count})).collect::<Vec<_>>(),
        "lost_hits": cache_report::lost_hits(&whole),
        "routes": cache_report::by_route(&window),
        "envoys": envoys,
        "filter": super::shown(filter),
        "window": super::seconds(window_ms),
        "as_of": now_ms,
    })
}

/// `GET /cache/invalidation-stats`.
#[must_use]
pub fn invalidation(fleet: &Fleet, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Value {
    let envoy = filter.envoy.clone();
    let whole = Filter {
        envoy,
        ..Filter::default()
    };
    let window = fleet.recent_of(&whole, window_ms, now_ms);
    let covered_ms = fleet.covered_ms(&whole, window_ms, now_ms);
    json!({
        "invalidation_rate": number(per_second(window.cache.invalidations, covered_ms)),
        "by_cause": cache_report::invalidations(&window),
        "recent_invalidations": window.cache.invalidations,
        "invalidations": fleet.totals().cache.invalidations,
        "filter": super::shown(filter),
        "window": super::seconds(window_ms),
        "as_of": now_ms,
    })
}
