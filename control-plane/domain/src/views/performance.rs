//! `GET /metrics/performance`: how fast, how well cached, how much.

use super::{FORWARDED, FROM_CACHE, MISSED, OUTCOMES, Part};
use super::{hit_ratio, megabytes, milliseconds, per_second};
use crate::Millis;
use crate::breakers::state::worst_state;
use crate::cache::held::held_of;
use crate::fleet::Fleet;
use crate::telemetry::envoy_stats::EnvoyStats;
use crate::telemetry::figure::{Figure, number, percent};
use crate::telemetry::sum::{Filter, Sum};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What Envoys hold and count as a whole, whatever route or upstream is asked for.
const OF_WHOLE_ENVOYS: [&str; 3] = ["cache_memory_usage", "eviction_rate", "filter_overhead"];

/// Latency, hit ratio, errors and throughput. Latencies are milliseconds from a request's arrival to the end of its response.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Performance {
    /// Median latency of all requests, milliseconds.
    pub p50_latency: Figure,
    /// 90th percentile of the latency of all requests, milliseconds.
    pub p90_latency: Figure,
    /// 95th percentile of the latency of all requests, milliseconds.
    pub p95_latency: Figure,
    /// 99th percentile of the latency of all requests, milliseconds.
    pub p99_latency: Figure,
    /// Of requests answered from the cache.
    pub p50_latency_hit: Figure,
    /// Of requests answered from the cache.
    pub p90_latency_hit: Figure,
    /// Of requests answered from the cache.
    pub p95_latency_hit: Figure,
    /// Of requests answered from the cache.
    pub p99_latency_hit: Figure,
    /// Requests answered from the cache.
    pub sample_count_hit: u64,
    /// Of requests looked up for which the upstream had to be asked.
    pub p50_latency_miss: Figure,
    /// Of requests looked up for which the upstream had to be asked.
    pub p90_latency_miss: Figure,
    /// Of requests looked up for which the upstream had to be asked.
    pub p95_latency_miss: Figure,
    /// Of requests looked up for which the upstream had to be asked.
    pub p99_latency_miss: Figure,
    /// Requests looked up for which the upstream had to be asked.
    pub sample_count_miss: u64,
    /// Of requests that went to the upstream for whatever reason.
    pub p50_latency_forwarded: Figure,
    /// Of requests that went to the upstream for whatever reason.
    pub p90_latency_forwarded: Figure,
    /// Of requests that went to the upstream for whatever reason.
    pub p95_latency_forwarded: Figure,
    /// Of requests that went to the upstream for whatever reason.
    pub p99_latency_forwarded: Figure,
    /// Requests that went to the upstream for whatever reason.
    pub sample_count_forwarded: u64,
    /// What the cache has saved a request on average, milliseconds.
    pub latency_saved: Figure,
    /// Time spent in the filter's own code per request, milliseconds.
    pub filter_overhead_p50: Figure,
    /// Time spent in the filter's own code per request, milliseconds.
    pub filter_overhead_p99: Figure,
    /// Requests that failed or were shed, percent.
    pub error_rate: Figure,
    /// Of the window, else of the last traffic, percent; 100 when there never was any.
    pub cache_hit_ratio: Figure,
    /// Memory of the caches, megabytes.
    pub cache_memory_usage: Figure,
    /// Evictions per second.
    pub eviction_rate: Figure,
    /// The worst of all breakers: closed, half_open or open.
    pub circuit_breaker_state: &'static str,
    /// Requests of clients on HTTP/2 or later, percent.
    pub http2_adoption_rate: Figure,
    /// Requests to upstreams that needed no new connection, percent.
    pub connection_reuse_rate: Figure,
    /// Resident memory of the control plane's process, megabytes.
    pub memory_usage_mb: Figure,
    /// Requests of clients per second, of all Envoys together.
    pub requests_per_second: Figure,
    /// Requests in the window.
    pub sample_count: u64,
    /// Lookups in the window.
    pub lookup_count: u64,
    /// Envoys behind these figures.
    pub envoys: usize,
    /// Where each figure comes from.
    pub sources: Sources,
    /// Requests by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The part of the traffic that was asked for.
    pub filter: Part,
    /// Fields that are of more than that part.
    pub not_filtered: &'static [&'static str],
    /// The window asked for.
    pub window: String,
    /// How much of it is known.
    pub covered: String,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// Who a figure comes from: envoy (all requests), filter (a sample) or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sources {
    /// Of `http2_adoption_rate`.
    pub http2_adoption_rate: &'static str,
    /// Of `connection_reuse_rate`.
    pub connection_reuse_rate: &'static str,
}

/// Everything in one document. `own_memory` is that of the control plane's process.
#[must_use]
pub fn performance(
    fleet: &Fleet,
    stats: &EnvoyStats,
    filter: &Filter,
    window_ms: Millis,
    own_memory: u64,
    now_ms: Millis,
) -> Performance {
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
    let hit = window.latency_of(&FROM_CACHE);
    let miss = window.latency_of(&MISSED);
    let forwarded = window.latency_of(&FORWARDED);
    let (http2, http2_source) = http2_adoption(fleet, stats, filter, &window, window_ms, now_ms);
    let (reuse, reuse_source) = connection_reuse(fleet, stats, filter, &window, window_ms, now_ms);
    Performance {
        p50_latency: milliseconds(&latency, 0.5),
        p90_latency: milliseconds(&latency, 0.9),
        p95_latency: milliseconds(&latency, 0.95),
        p99_latency: milliseconds(&latency, 0.99),
        p50_latency_hit: milliseconds(&hit, 0.5),
        p90_latency_hit: milliseconds(&hit, 0.9),
        p95_latency_hit: milliseconds(&hit, 0.95),
        p99_latency_hit: milliseconds(&hit, 0.99),
        sample_count_hit: hit.count(),
        p50_latency_miss: milliseconds(&miss, 0.5),
        p90_latency_miss: milliseconds(&miss, 0.9),
        p95_latency_miss: milliseconds(&miss, 0.95),
        p99_latency_miss: milliseconds(&miss, 0.99),
        sample_count_miss: miss.count(),
        p50_latency_forwarded: milliseconds(&forwarded, 0.5),
        p90_latency_forwarded: milliseconds(&forwarded, 0.9),
        p95_latency_forwarded: milliseconds(&forwarded, 0.95),
        p99_latency_forwarded: milliseconds(&forwarded, 0.99),
        sample_count_forwarded: forwarded.count(),
        latency_saved: number(saved(&window)),
        filter_overhead_p50: number(whole.overhead.quantile(0.5).unwrap_or(0.0) / 1e6),
        filter_overhead_p99: number(whole.overhead.quantile(0.99).unwrap_or(0.0) / 1e6),
        error_rate: number(percent(window.failed(), requests)),
        cache_hit_ratio: number(hit_ratio(fleet, filter, &window, window_ms, now_ms)),
        cache_memory_usage: megabytes(held_of(fleet, filter, now_ms).bytes),
        eviction_rate: number(per_second(whole.cache.evictions, covered_ms)),
        circuit_breaker_state: worst_state(fleet, filter, now_ms).as_str(),
        http2_adoption_rate: number(http2),
        connection_reuse_rate: number(reuse),
        memory_usage_mb: megabytes(own_memory),
        requests_per_second: number(fleet.requests_per_second(filter, &window, window_ms, now_ms)),
        sample_count: requests,
        lookup_count: window.cache.lookups,
        envoys: fleet.present_of(filter, now_ms).count(),
        sources: Sources {
            http2_adoption_rate: http2_source,
            connection_reuse_rate: reuse_source,
        },
        outcomes: OUTCOMES
            .into_iter()
            .map(|(outcome, name)| (name, window.count(outcome)))
            .collect(),
        filter: super::shown(filter),
        not_filtered: if filter.is_whole() { &[] } else { &OF_WHOLE_ENVOYS },
        window: super::seconds(window_ms),
        covered: super::seconds(covered_ms),
        as_of: now_ms,
    }
}

/// What the cache has saved its clients on average, milliseconds per request: the difference of the means of what was answered from
/// the cache and what was not, for the share that was.
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
