//! A thousand Envoys reporting each second: what that costs the control plane. Takes minutes, so it runs only when asked:
//!
//! `cargo test --release -p api-optimizer-control-plane --test envoys -- --ignored --nocapture`

use super::common::{Envoy, Plane, now_ms};
use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::{BreakerGauge, CacheCounters, FilterGauges, RequestSeries, TelemetryDelta, TelemetryReport};
use std::time::{Duration, Instant};

const ENVOYS: u64 = 1_000;
const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(60);
/// Two routes, three outcomes.
const SERIES: u64 = 6;
const REQUESTS: u64 = 50;

/// What a busy Envoy reports: 300 requests a second, latencies over three decades.
fn report(name: &str, sequence: u64) -> TelemetryReport {
    let mut overhead = Sketch::new();
    let requests = (0..SERIES).map(|number| {
        let mut latency_us = Sketch::new();
        for at in 0..REQUESTS {
            let value = 150 + (sequence * 7_919 + number * 104_729 + at * at * 613) % 90_000;
            latency_us.record(value);
            overhead.record(value * 40);
        }
        RequestSeries {
            route: format!("route-{}", number % 2),
            upstream: "origin".to_owned(),
            outcome: i32::try_from(number / 2 + 1).unwrap(),
            count: REQUESTS,
            latency_us: Some(latency_us.into()),
            response_bytes: 50_000,
            ..RequestSeries::default()
        }
    });
    let requests = requests.collect();
    let cache = CacheCounters {
        lookups: SERIES * REQUESTS,
        hits: SERIES * REQUESTS / 2,
        ..CacheCounters::default()
    };
    let breaker = BreakerGauge {
        upstream: "origin".to_owned(),
        state: "closed".to_owned(),
        ..BreakerGauge::default()
    };
    TelemetryReport {
        sequence,
        instance_id: name.to_owned(),
        closed_at_ms: now_ms(),
        span_ms: 1_000,
        delta: Some(TelemetryDelta {
            requests,
            cache: Some(cache),
            overhead_ns: Some(overhead.into()),
            ..TelemetryDelta::default()
        }),
        gauges: Some(FilterGauges {
            breakers: vec![breaker],
            workers: 4,
            ..FilterGauges::default()
        }),
    }
}

/// Processor time used, seconds, and resident memory, megabytes.
fn used(process: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap());
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: f64 = resident.trim().trim_end_matches(" kB").trim().parse().unwrap();
    (ticks.sum::<f64>() / 100.0, kilobytes / 1_000.0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and both cores"]
async fn a_thousand_envoys_report_each_second() {
    let plane = Plane::start();
    let mut envoys = tokio::task::JoinSet::new();
    let end = Instant::now() + WARM_UP + MEASURED + Duration::from_secs(2);
    for number in 0..ENVOYS {
        let name = format!("envoy-{number}");
        let mut envoy = Envoy::connect(&plane, &name).await;
        envoys.spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1));
            let mut sequence = 0;
            while Instant::now() < end {
                beat.tick().await;
                sequence += 1;
                assert!(envoy.report(report(&name, sequence)).await);
            }
            sequence
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let (cpu_before, memory_before) = used(plane.id());
    let started = Instant::now();
    tokio::time::sleep(MEASURED).await;
    let (cpu, memory) = used(plane.id());
    let cores = (cpu - cpu_before) / started.elapsed().as_secs_f64();
    let asked = Instant::now();
    let figures = plane.document("/metrics/performance?window=1m").await;
    let answered_in = asked.elapsed();
    let sent: u64 = envoys.join_all().await.into_iter().sum();
    println!("{ENVOYS} Envoys, {sent} reports of {} series", SERIES);
    println!("  processor {cores:.2} cores, memory {memory_before:.0} -> {memory:.0} MB in {MEASURED:?}");
    println!(
        "  /metrics/performance in {answered_in:?}: {} requests/s",
        figures["requests_per_second"]
    );
    let counted = plane.document("/metrics/performance?window=1h").await;
    assert_eq!(
        counted["sample_count"],
        sent * SERIES * REQUESTS,
        "every request is counted"
    );
}
