//! The figures operators read. Percentages are 0–100, times bare milliseconds, sizes bare megabytes, at most four decimals.

use crate::Millis;
use crate::envoy_stats::EnvoyStats;
use crate::fleet::Fleet;
use crate::windows::{Filter, Sum};
use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::Outcome;
use serde_json::{Value, json};

/// The window of a figure when none is asked for: five minutes.
pub const DEFAULT_WINDOW_MS: u64 = 300_000;
/// Longest window: what is kept.
pub const MAX_WINDOW_MS: u64 = 3_600_000;

/// Types of upstream failures, always listed.
pub const ERROR_TYPES: [&str; 7] = [
    "connect_failure",
    "reset",
    "timeout",
    "refused",
    "protocol_error",
    "upstream_5xx",
    "overflow",
];

/// Rounded to four decimals, never NaN, infinite or so small that JSON would write an exponent.
#[must_use]
pub fn number(value: f64) -> Value {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if !rounded.is_finite() {
        return json!(0);
    }
    if rounded.fract() == 0.0 && rounded.abs() < 9.0e15 {
        // A whole number is written as one: jq and bc read `12` and `12.0` alike, people prefer the first.
        #[allow(clippy::cast_possible_truncation)]
        return json!(rounded as i64);
    }
    json!(rounded)
}

/// A share in percent; 0 of nothing.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> Value {
    number(bytes as f64 / 1_000_000.0)
}

fn milliseconds(sketch: &Sketch, quantile: f64) -> Value {
    number(sketch.quantile(quantile).unwrap_or(0.0) / 1_000.0)
}

/// Hit ratio in percent: of the window, else of all time, else 100: an idle cache misses nothing.
fn hit_ratio(window: &Sum, totals: &Sum) -> f64 {
    for sum in [window, totals] {
        if sum.cache.lookups > 0 {
            return percent(sum.cache.hits, sum.cache.lookups);
        }
    }
    100.0
}

/// What the cache has saved its clients on average, milliseconds per request: the difference of the means of what was forwarded
/// and what was answered from the cache, for the share that was.
#[allow(clippy::cast_precision_loss)]
fn saved(window: &Sum) -> f64 {
    let mean = |sketch: &Sketch| {
        if sketch.count() == 0 {
            0.0
        } else {
            sketch.sum() as f64 / sketch.count() as f64
        }
    };
    let (hit, forwarded) = (&window.latency_hit, &window.latency_forwarded);
    if hit.count() == 0 || forwarded.count() == 0 {
        return 0.0;
    }
    let share = hit.count() as f64 / window.latency.count().max(1) as f64;
    ((mean(forwarded) - mean(hit)) * share / 1_000.0).max(0.0)
}

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
    fleet.present(now_ms).fold(Held::default(), |sum, (_, envoy)| Held {
        entries: sum.entries.saturating_add(envoy.gauges.cache_entries),
        bytes: sum.bytes.saturating_add(envoy.gauges.cache_bytes),
        limit_entries: sum.limit_entries.saturating_add(envoy.gauges.cache_limit_entries),
        limit_bytes: sum.limit_bytes.saturating_add(envoy.gauges.cache_limit_bytes),
        age_sum_ms: sum.age_sum_ms.saturating_add(envoy.gauges.cache_age_sum_ms),
    })
}

/// `GET /metrics/performance`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn performance(fleet: &Fleet, stats: &EnvoyStats, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Value {
    let window = fleet.recent_of(filter, window_ms, now_ms);
    let totals = fleet.totals();
    let own = stats.recent(window_ms, now_ms);
    let requests = window.requests();
    let errors = window.count(Outcome::Error).saturating_add(window.count(Outcome::Shed));
    let seconds = window_ms as f64 / 1_000.0;
    json!({
        "p50_latency": milliseconds(&window.latency, 0.5),
        "p90_latency": milliseconds(&window.latency, 0.9),
        "p95_latency": milliseconds(&window.latency, 0.95),
        "p99_latency": milliseconds(&window.latency, 0.99),
        "p95_latency_hit": milliseconds(&window.latency_hit, 0.95),
        "p95_latency_forwarded": milliseconds(&window.latency_forwarded, 0.95),
        "filter_overhead_p50": number(window.overhead.quantile(0.5).unwrap_or(0.0) / 1e6),
        "filter_overhead_p99": number(window.overhead.quantile(0.99).unwrap_or(0.0) / 1e6),
        "error_rate": number(percent(errors, requests)),
        "cache_hit_ratio": number(hit_ratio(&window, &totals)),
        "cache_memory_usage": megabytes(held(fleet, now_ms).bytes),
        "eviction_rate": number(window.cache.evictions as f64 / seconds),
        "circuit_breaker_state": worst_state(fleet, now_ms),
        "http2_adoption_rate": number(own.http2_adoption()),
        "connection_reuse_rate": number(own.connection_reuse()),
        "latency_saved": number(saved(&window)),
        "requests_per_second": number(requests as f64 / seconds),
        "sample_count": requests,
        "envoys": fleet.present(now_ms).count(),
        "window": format!("{}s", window_ms / 1_000),
        "as_of": now_ms,
    })
}

/// The control plane's own machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct System {
    /// Memory in use, percent of the machine or of the cgroup's limit.
    pub memory_percent: Option<f64>,
    /// Processor in use, percent of the machine or of the cgroup's quota.
    pub cpu_percent: Option<f64>,
    /// Disk in use where the state is kept, percent.
    pub disk_percent: Option<f64>,
    /// Resident memory of the process.
    pub resident_bytes: u64,
}

/// Open connections to upstreams as a share of what `max_connections` allows each present Envoy, percent.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn connections_percent(stats: &EnvoyStats, max_connections: u64, now_ms: Millis) -> Option<f64> {
    let envoys = stats.present(now_ms).count() as u64;
    let allowed = max_connections.saturating_mul(envoys);
    (allowed > 0).then(|| percent(stats.gauges(now_ms).upstream_open, allowed))
}

/// `GET /metrics/system`.
#[must_use]
pub fn system(system: &System, stats: &EnvoyStats, max_connections: u64, now_ms: Millis) -> Value {
    let share = |value: Option<f64>| number(value.unwrap_or(0.0));
    let gauges = stats.gauges(now_ms);
    let envoys: Vec<Value> = stats
        .present(now_ms)
        .map(|(node, gauges)| {
            json!({
                "node_id": node,
                "memory_usage_mb": megabytes(gauges.memory_bytes),
                "heap_mb": megabytes(gauges.heap_bytes),
                "client_connections": gauges.downstream_open,
                "upstream_connections": gauges.upstream_open,
            })
        })
        .collect();
    json!({
        "memory_usage": share(system.memory_percent),
        "cpu_usage": share(system.cpu_percent),
        "cpu_usage_percent": share(system.cpu_percent),
        "disk_usage": share(system.disk_percent),
        "memory_usage_mb": megabytes(system.resident_bytes),
        "open_connections": gauges.upstream_open,
        "client_connections": gauges.downstream_open,
        "max_connections": max_connections,
        "open_connections_percent": share(connections_percent(stats, max_connections, now_ms)),
        "envoys": envoys,
        "as_of": now_ms,
    })
}

/// `GET /metrics/errors`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn errors(fleet: &Fleet, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Value {
    let window = fleet.recent_of(filter, window_ms, now_ms);
    let seconds = window_ms as f64 / 1_000.0;
    let details: serde_json::Map<String, Value> = window
        .error_examples
        .iter()
        .map(|(kind, example)| {
            let count = window.errors.get(kind).copied().unwrap_or(0);
            (
                kind.clone(),
                json!({
                    "rate": number(count as f64 / seconds),
                    "last_seen": example.last_seen_ms,
                    "upstreams": example.upstreams,
                }),
            )
        })
        .collect();
    let mut by_type: serde_json::Map<String, Value> =
        ERROR_TYPES.iter().map(|kind| ((*kind).to_owned(), json!(0))).collect();
    by_type.extend(window.errors.iter().map(|(kind, count)| (kind.clone(), json!(count))));
    json!({
        "errors_by_type": by_type,
        "details": details,
        "shed": window.count(Outcome::Shed),
        "requests": window.requests(),
        "window": format!("{}s", window_ms / 1_000),
        "as_of": now_ms,
    })
}

/// `GET /cache/stats`. `default_ttl` is the setting as written.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn cache(fleet: &Fleet, default_ttl: &str, window_ms: Millis, now_ms: Millis) -> Value {
    let window = fleet.recent(window_ms, now_ms);
    let totals = fleet.totals();
    let held = held(fleet, now_ms);
    let age_ms = if held.entries == 0 {
        0.0
    } else {
        held.age_sum_ms as f64 / held.entries as f64
    };
    let envoys: Vec<Value> = fleet
        .present(now_ms)
        .map(|(name, envoy)| {
            json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "size": envoy.gauges.cache_entries,
                "memory_usage": megabytes(envoy.gauges.cache_bytes),
            })
        })
        .collect();
    let mut reasons: Vec<(&String, &u64)> = window.reasons.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    json!({
        "hit_ratio": number(hit_ratio(&window, &totals)),
        "size": held.entries,
        "size_limit": held.limit_entries,
        "memory_usage": megabytes(held.bytes),
        "memory_limit": megabytes(held.limit_bytes),
        "eviction_count": totals.cache.evictions,
        "recent_evictions": window.cache.evictions,
        "expirations": totals.cache.expirations,
        "stores": totals.cache.stores,
        "corrupt_slots": totals.cache.corrupt_slots,
        "default_ttl": default_ttl,
        "average_age": format!("{}s", number(age_ms / 1_000.0)),
        "not_used_because": reasons.into_iter().map(|(code, count)| json!({"reason": code, "count": count})).collect::<Vec<_>>(),
        "envoys": envoys,
        "window": format!("{}s", window_ms / 1_000),
        "as_of": now_ms,
    })
}

/// `GET /cache/invalidation-stats`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn invalidation(fleet: &Fleet, window_ms: Millis, now_ms: Millis) -> Value {
    let window = fleet.recent(window_ms, now_ms);
    json!({
        "invalidation_rate": number(window.cache.invalidations as f64 * 1_000.0 / window_ms as f64),
        "invalidations": fleet.totals().cache.invalidations,
        "window": format!("{}s", window_ms / 1_000),
        "as_of": now_ms,
    })
}

/// How bad a state is; the runbook knows three of them.
fn rank(state: &str) -> u8 {
    match state {
        "open" | "forced_open" => 2,
        "half_open" => 1,
        _ => 0,
    }
}

fn state_of(rank: u8) -> &'static str {
    match rank {
        2 => "open",
        1 => "half_open",
        _ => "closed",
    }
}

/// The worst state of all breakers of the present Envoys, in the runbook's three words.
#[must_use]
pub fn worst_state(fleet: &Fleet, now_ms: Millis) -> &'static str {
    let worst = fleet
        .present(now_ms)
        .flat_map(|(_, envoy)| &envoy.gauges.breakers)
        .map(|gauge| rank(&gauge.state))
        .max();
    state_of(worst.unwrap_or(0))
}

/// `GET /circuit-breaker/status`.
#[must_use]
pub fn breakers(fleet: &Fleet, now_ms: Millis) -> Value {
    let worst = worst_state(fleet, now_ms);
    let mut failures = 0_u64;
    let mut in_worst = 0_u64;
    let mut upstreams: std::collections::BTreeMap<&str, Vec<Value>> = std::collections::BTreeMap::new();
    let mut concurrency: std::collections::BTreeMap<&str, Vec<Value>> = std::collections::BTreeMap::new();
    for (name, envoy) in fleet.present(now_ms) {
        let is_worst = envoy
            .gauges
            .breakers
            .iter()
            .any(|gauge| state_of(rank(&gauge.state)) == worst);
        in_worst += u64::from(is_worst);
        for gauge in &envoy.gauges.concurrency {
            concurrency.entry(&gauge.upstream).or_default().push(json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "in_flight": gauge.in_use,
                "limit": gauge.limit,
                "waiting": gauge.waiting,
                "refused": gauge.refused_total,
            }));
        }
        for gauge in &envoy.gauges.breakers {
            failures = failures.saturating_add(gauge.failures);
            upstreams.entry(&gauge.upstream).or_default().push(json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "state": gauge.state,
                "since": gauge.since_ms,
                "cause": gauge.cause,
                "calls": gauge.calls,
                "failures": gauge.failures,
                "slow_calls": gauge.slow_calls,
                "refused_calls": gauge.refused_total,
                "next_probe": gauge.next_probe_ms,
                "probes_in_flight": gauge.in_flight,
            }));
        }
    }
    json!({
        "state": worst,
        "failure_count": failures,
        "envoys_in_state": in_worst,
        "envoys": fleet.present(now_ms).count(),
        "upstreams": upstreams,
        "concurrency": concurrency,
        "as_of": now_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{
        BreakerGauge, CacheCounters, FilterGauges, Hello, RequestSeries, TelemetryDelta, TelemetryReport,
    };

    #[test]
    fn numbers_are_what_bc_can_read() {
        for (value, text) in [
            (0.000_01, "0"),
            (12.0, "12"),
            (1.234_56, "1.2346"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
            (-0.0, "0"),
            (99.999_99, "100"),
        ] {
            assert_eq!(number(value).to_string(), text);
        }
    }

    #[test]
    fn without_traffic_every_field_is_there() {
        let view = performance(
            &Fleet::default(),
            &EnvoyStats::default(),
            &Filter::default(),
            DEFAULT_WINDOW_MS,
            1,
        );
        for (field, value) in [
            ("p95_latency", json!(0)),
            ("error_rate", json!(0)),
            ("cache_hit_ratio", json!(100)),
            ("requests_per_second", json!(0)),
        ] {
            assert_eq!(view[field], value, "{field}");
        }
        assert_eq!(view["circuit_breaker_state"], "closed");
        assert!(!view.as_object().unwrap().values().any(Value::is_null));
    }

    #[test]
    fn the_figures_are_those_of_the_fleet() {
        let mut fleet = Fleet::default();
        for (name, state, latency) in [("a", "closed", 1_000_u64), ("b", "half_open", 3_000)] {
            fleet.hello(
                &Hello {
                    instance_id: name.to_owned(),
                    ..Default::default()
                },
                1,
                1_000,
            );
            let mut sketch = Sketch::new();
            (0..50).for_each(|_| sketch.record(latency));
            let series = |outcome: Outcome| RequestSeries {
                outcome: outcome as i32,
                count: 50,
                latency_us: Some(sketch.clone().into()),
                ..Default::default()
            };
            let delta = TelemetryDelta {
                requests: vec![series(Outcome::Hit), series(Outcome::Error)],
                cache: Some(CacheCounters {
                    lookups: 100,
                    hits: 50,
                    evictions: 30,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let breaker = BreakerGauge {
                upstream: "api".to_owned(),
                state: state.to_owned(),
                failures: 2,
                ..Default::default()
            };
            let gauges = FilterGauges {
                cache_entries: 3,
                cache_bytes: 2_500_000,
                breakers: vec![breaker],
                ..Default::default()
            };
            let report = TelemetryReport {
                sequence: 1,
                delta: Some(delta),
                gauges: Some(gauges),
                ..Default::default()
            };
            fleet.reported(name, report, 1_000);
        }
        let view = performance(&fleet, &EnvoyStats::default(), &Filter::default(), 60_000, 2_000);
        assert_eq!(
            (&view["error_rate"], &view["cache_hit_ratio"]),
            (&json!(50), &json!(50))
        );
        assert_eq!(
            (&view["cache_memory_usage"], &view["eviction_rate"]),
            (&json!(5), &json!(1))
        );
        assert_eq!(view["circuit_breaker_state"], "half_open");
        let p95 = view["p95_latency"].as_f64().unwrap();
        assert!((2.9..3.1).contains(&p95), "{p95}");
        let status = breakers(&fleet, 2_000);
        assert_eq!(
            (&status["failure_count"], &status["envoys_in_state"]),
            (&json!(4), &json!(1))
        );
        assert_eq!(cache(&fleet, "5m", 60_000, 2_000)["size"], json!(6));
    }
}
