//! What a busy Envoy reports each second.

use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::{
    BreakerGauge, CacheCounters, ConcurrencyGauge, ErrorCount, FilterGauges, Outcome, ReasonCount, RequestSeries,
    TelemetryDelta, TelemetryReport,
};

/// Requests of one second, by outcome.
const REQUESTS: [(Outcome, u64, f64); 5] = [
    (Outcome::Hit, 300, 180.0),
    (Outcome::Miss, 60, 24_000.0),
    (Outcome::Bypass, 30, 31_000.0),
    (Outcome::Stale, 6, 210.0),
    (Outcome::Error, 4, 90_000.0),
];
const ROUTES: [&str; 4] = ["products", "orders", "search", "default"];
const UPSTREAMS: [&str; 2] = ["catalogue-v1", "catalogue-v2"];
const WORKERS: u32 = 3;

/// Reports that differ as those of different Envoys and seconds do.
pub(crate) fn variety(count: u64) -> Vec<TelemetryReport> {
    (1..=count).map(|seed| report(&mut Random(seed))).collect()
}

fn report(random: &mut Random) -> TelemetryReport {
    let mut delta = TelemetryDelta::default();
    let mut overhead = Sketch::new();
    let mut lookups = CacheCounters::default();
    for route in ROUTES {
        for upstream in UPSTREAMS {
            for (outcome, requests, usual_us) in REQUESTS {
                let count = requests / 8 + random.below(3);
                if count == 0 {
                    continue;
                }
                let mut latency = Sketch::new();
                for _ in 0..count {
                    latency.record(random.around(usual_us));
                    overhead.record(random.around(14_000.0));
                }
                if outcome == Outcome::Hit {
                    lookups.hits += count;
                    lookups.hit_bytes += count * 4_096;
                }
                lookups.lookups += count;
                delta.requests.push(RequestSeries {
                    route: route.to_owned(),
                    upstream: upstream.to_owned(),
                    outcome: outcome.into(),
                    protocol: 11,
                    count,
                    latency_us: Some(latency.into()),
                    response_bytes: count * 4_096,
                    upstream_requests: if outcome == Outcome::Hit { 0 } else { count },
                    upstream_reused: 0,
                });
            }
        }
    }
    delta.requests.sort_by(|a, b| {
        let key = |series: &RequestSeries| (series.route.clone(), series.upstream.clone(), series.outcome);
        key(a).cmp(&key(b))
    });
    lookups.stores = 55;
    lookups.evictions = 20;
    delta.cache = Some(lookups);
    delta.overhead_ns = Some(overhead.into());
    delta.errors = vec![ErrorCount {
        kind: "upstream_5xx".to_owned(),
        upstream: UPSTREAMS[0].to_owned(),
        count: 4,
    }];
    delta.reasons = ["expired", "no-store", "vary"]
        .map(|code| ReasonCount {
            code: code.to_owned(),
            count: 1 + random.below(20),
        })
        .to_vec();
    TelemetryReport {
        span_ms: 1_000,
        delta: Some(delta),
        gauges: Some(gauges(random)),
        ..TelemetryReport::default()
    }
}

fn gauges(random: &mut Random) -> FilterGauges {
    FilterGauges {
        cache_entries: 9_000 + random.below(1_000),
        cache_bytes: 60_000_000,
        cache_limit_entries: 10_000,
        cache_limit_bytes: 100_000_000,
        cache_age_sum_ms: 9_000 * 30_000,
        breakers: UPSTREAMS.map(breaker).to_vec(),
        workers: WORKERS,
        concurrency: UPSTREAMS
            .map(|upstream| ConcurrencyGauge {
                upstream: upstream.to_owned(),
                in_use: random.below(20),
                limit: 1_024,
                ..ConcurrencyGauge::default()
            })
            .to_vec(),
    }
}

fn breaker(upstream: &str) -> BreakerGauge {
    BreakerGauge {
        upstream: upstream.to_owned(),
        state: "closed".to_owned(),
        calls: 900,
        failures: 4,
        ..BreakerGauge::default()
    }
}

/// xorshift64: the same reports in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 32) % end
    }

    /// Log-normal around `usual`, with the tail that latencies have.
    fn around(&mut self, usual: f64) -> u64 {
        // Twelve uniform values add up to nearly a normal one.
        let sum: u64 = (0..12).map(|_| self.below(1_000)).sum();
        let normal = sum as f64 / 1_000.0 - 6.0;
        (usual * (0.6 * normal).exp()) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::telemetry::check_report;

    #[test]
    fn the_control_plane_takes_every_one() {
        for mut report in variety(20) {
            report.sequence = 1;
            report.instance_id = "a".to_owned();
            check_report(&report, 0).unwrap();
        }
    }
}
