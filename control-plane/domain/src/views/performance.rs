//! `GET /metrics/performance`: how fast, how well cached, how much.

use super::{FORWARDED, FROM_CACHE, MISSED, OUTCOMES, held_of, megabytes, milliseconds, number, per_second, percent};
use crate::Millis;
use crate::envoy_stats::EnvoyStats;
use crate::fleet::Fleet;
use crate::sum::{Filter, Sum};
use crate::windows::Windows;
use serde_json::{Value, json};

/// What Envoys hold and count as a whole, whatever route or upstream is asked for.
const OF_WHOLE_ENVOYS: [&str; 3] = ["cache_memory_usage", "eviction_rate", "filter_overhead"];

/// Everything in one document. `own_memory` is that of the control plane's process.
#[must_use]
pub fn performance(
    fleet: &Fleet,
    stats: &EnvoyStats,
    filter: &Filter,
    window_ms: Millis,
    own_memory: u64,
    now_ms: Millis,
) -> Value {
    let window = fleet.recent_of(filter, window_ms, now_ms);
    let whole = if filter.is_whole() {
        window.clone()
    } else {
        let envoy = filter.envoy.clone();
        fleet.recent_of(
            &Filter {
                envoy,
                ..Filter::default()
            },
            window_ms,
            now_ms,
        )
    };
    let covered_ms = fleet.covered_ms(filter, window_ms, now_ms);
    let requests = window.requests();
    let latency = window.latency();
    let (http2, http2_source) = http2_adoption(fleet, stats, filter, &window, window_ms, now_ms);
    let (reuse, reuse_source) = connection_reuse(fleet, stats, filter, &window, window_ms, now_ms);
    let mut view = json!({
        "p50_latency": milliseconds(&latency, 0.5),
        "p90_latency": milliseconds(&latency, 0.9),
        "p95_latency": milliseconds(&latency, 0.95),
        "p99_latency": milliseconds(&latency, 0.99),
        "latency_saved": number(saved(&window)),
        "filter_overhead_p50": number(whole.overhead.quantile(0.5).unwrap_or(0.0) / 1e6),
        "filter_overhead_p99": number(whole.overhead.quantile(0.99).unwrap_or(0.0) / 1e6),
        "error_rate": number(percent(window.failed(), requests)),
        "cache_hit_ratio": number(hit_ratio(fleet, filter, &window, window_ms, now_ms)),
        "cache_memory_usage": megabytes(held_of(fleet, filter, now_ms).bytes),
        "eviction_rate": number(per_second(whole.cache.evictions, covered_ms)),
        "circuit_breaker_state": super::worst_state(fleet, filter, now_ms),
        "http2_adoption_rate": number(http2),
        "connection_reuse_rate": number(reuse),
        "memory_usage_mb": megabytes(own_memory),
        "requests_per_second": number(fleet.requests_per_second(filter, &window, window_ms, now_ms)),
        "sample_count": requests,
        "lookup_count": window.cache.lookups,
        "envoys": fleet.present_of(filter, now_ms).count(),
        "sources": { "http2_adoption_rate": http2_source, "connection_reuse_rate": reuse_source },
        "filter": super::shown(filter),
        "not_filtered": if filter.is_whole() { json!([]) } else { json!(OF_WHOLE_ENVOYS) },
        "window": super::seconds(window_ms),
        "covered": super::seconds(covered_ms),
        "as_of": now_ms,
    });
    if let Some(view) = view.as_object_mut() {
        for (name, outcomes) in [
            ("hit", FROM_CACHE.as_slice()),
            ("miss", MISSED.as_slice()),
            ("forwarded", FORWARDED.as_slice()),
        ] {
            let latency = window.latency_of(outcomes);
            for (quantile, q) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
                view.insert(format!("{quantile}_latency_{name}"), milliseconds(&latency, q));
            }
            view.insert(format!("sample_count_{name}"), json!(latency.count()));
        }
        let counts = OUTCOMES.map(|(outcome, name)| (name.to_owned(), json!(window.count(outcome))));
        view.insert("outcomes".to_owned(), Value::Object(counts.into_iter().collect()));
    }
    view
}

/// Hit ratio in percent: of the window, else of the last one with lookups, else 100: an idle cache misses nothing.
#[must_use]
pub fn hit_ratio(fleet: &Fleet, filter: &Filter, window: &Sum, window_ms: Millis, now_ms: Millis) -> f64 {
    if window.cache.lookups > 0 {
        return percent(window.cache.hits, window.cache.lookups);
    }
    let windows = fleet.windows_of(filter);
    if let Some(last_ms) = windows.iter().filter_map(|windows| windows.last_lookups(now_ms)).max() {
        let last = fleet.recent_of(filter, window_ms, last_ms);
        if last.cache.lookups > 0 {
            return percent(last.cache.hits, last.cache.lookups);
        }
    }
    let faded = windows.iter().filter_map(|windows| windows.faded());
    match faded.fold((0, 0), |sum, (hits, lookups)| (sum.0 + hits, sum.1 + lookups)) {
        (_, 0) => 100.0,
        (hits, lookups) => percent(hits, lookups),
    }
}

/// The hit ratio of one Envoy, from the windows it has of its own; falls back as [`hit_ratio`] does.
pub(super) fn hit_ratio_of(windows: &Windows, window_ms: Millis, now_ms: Millis) -> f64 {
    let recent = windows.hits_and_lookups(window_ms, now_ms);
    let last = || {
        let last_ms = windows.last_lookups(now_ms)?;
        Some(windows.hits_and_lookups(window_ms, last_ms)).filter(|(_, lookups)| *lookups > 0)
    };
    match Some(recent)
        .filter(|(_, lookups)| *lookups > 0)
        .or_else(last)
        .or(windows.faded())
    {
        None | Some((_, 0)) => 100.0,
        Some((hits, lookups)) => percent(hits, lookups),
    }
}

/// What the cache has saved its clients on average, milliseconds per request: the difference of the means of what was answered from
/// the cache and what was not, for the share that was.
#[allow(clippy::cast_precision_loss)]
fn saved(window: &Sum) -> f64 {
    let hit = window.latency_of(&FROM_CACHE);
    // Like is compared with like: what bypasses the cache says nothing about what a hit would have cost.
    let missed = Some(window.latency_of(&MISSED)).filter(|missed| !missed.is_empty());
    let missed = missed.unwrap_or_else(|| window.latency_of(&FORWARDED));
    let (Some(with), Some(without)) = (hit.mean(), missed.mean()) else {
        return 0.0;
    };
    let share = hit.count() as f64 / window.requests().max(1) as f64;
    ((without - with) * share / 1_000.0).max(0.0)
}

/// Share of client requests on HTTP/2 or later, and who says so: Envoy counts all of them, the filter a sample.
fn http2_adoption(
    fleet: &Fleet,
    stats: &EnvoyStats,
    filter: &Filter,
    window: &Sum,
    window_ms: Millis,
    now_ms: Millis,
) -> (f64, &'static str) {
    let own = stats.recent_of(fleet.node_of(filter), window_ms, now_ms);
    if filter.is_whole() && own.requests > 0 {
        return (own.http2_adoption(), "envoy");
    }
    match window.protocol_known {
        0 => (0.0, "none"),
        known => (percent(window.http2, known), "filter"),
    }
}

/// Share of upstream requests that needed no new connection, and who says so.
fn connection_reuse(
    fleet: &Fleet,
    stats: &EnvoyStats,
    filter: &Filter,
    window: &Sum,
    window_ms: Millis,
    now_ms: Millis,
) -> (f64, &'static str) {
    let own = stats.recent_of(fleet.node_of(filter), window_ms, now_ms);
    if filter.is_whole() && own.upstream_requests > 0 {
        return (own.connection_reuse(), "envoy");
    }
    match window.upstream_requests {
        0 => (0.0, "none"),
        requests => (percent(window.upstream_reused, requests), "filter"),
    }
}
