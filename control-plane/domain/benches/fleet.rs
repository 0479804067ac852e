//! An hour of a thousand Envoys, without sockets: what a report costs to take in, what the windows hold, what a figure costs.
//!
//! `cargo bench -p control-domain --bench fleet`

use control_domain::fleet::Fleet;
use control_domain::telemetry::envoy_stats::EnvoyStats;
use control_domain::telemetry::sum::Filter;
use control_domain::views;
use control_domain::what_if::{MOST_KEYS, WhatIf};
use optimizer_proto::telemetry::Sketch;
use optimizer_proto::telemetry::samples::{EVERY_KEY, Event};
use optimizer_proto::v1::{CacheCounters, Hello, KeySamples, RequestSeries, TelemetryDelta, TelemetryReport};
use std::hint::black_box;

const ENVOYS: usize = 1_000;
const SLOTS: u64 = 360;
const SLOT_MS: u64 = 10_000;
/// How often a figure is asked for.
const ASKED: u32 = 50;

/// Ten seconds of an Envoy with 300 requests a second: two routes, three outcomes.
fn report(sequence: u64, closed_at_ms: u64) -> TelemetryReport {
    let requests = (0..6_u64).map(|number| {
        let mut latency_us = Sketch::new();
        for at in 0..500 {
            latency_us.record(150 + (sequence * 7_919 + number * 104_729 + at * at * 613) % 90_000);
        }
        RequestSeries {
            route: format!("route-{}", number % 2),
            upstream: "origin".to_owned(),
            outcome: i32::try_from(number / 2 + 1).unwrap_or(1),
            count: 500,
            latency_us: Some(latency_us.into()),
            ..RequestSeries::default()
        }
    });
    let requests = requests.collect();
    let cache = CacheCounters {
        lookups: 3_000,
        hits: 1_500,
        ..CacheCounters::default()
    };
    TelemetryReport {
        sequence,
        closed_at_ms,
        span_ms: SLOT_MS,
        delta: Some(TelemetryDelta {
            requests,
            cache: Some(cache),
            ..TelemetryDelta::default()
        }),
        ..TelemetryReport::default()
    }
}

/// Processor time used so far, seconds: on a busy machine the clock on the wall tells of the others.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1_000.0
}

fn main() {
    let mut fleet = Fleet::default();
    let names: Vec<String> = (0..ENVOYS).map(|number| format!("envoy-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let hello = Hello {
            instance_id: name.clone(),
            ..Hello::default()
        };
        fleet.hello(&hello, number as u64, 0);
    }
    let before = resident_mb();
    let mut taking = 0.0;
    for slot in 1..=SLOTS {
        let now_ms = slot * SLOT_MS;
        let report = report(slot, now_ms);
        let started = cpu_seconds();
        for name in &names {
            black_box(fleet.reported(name, &report, now_ms));
        }
        taking += cpu_seconds() - started;
    }
    let per_report = taking * 1e6 / (ENVOYS as f64 * SLOTS as f64);
    println!("{ENVOYS} Envoys, an hour of slots, 6 series each: {per_report:.1} us of processor time per report");
    println!("  memory {before:.0} -> {:.0} MB", resident_mb());
    let now_ms = SLOTS * SLOT_MS;
    let one = Filter {
        envoy: Some("envoy-7".to_owned()),
        ..Filter::default()
    };
    for (what, filter, window_ms) in [
        ("the fleet, 1 m", Filter::default(), 60_000),
        ("the fleet, 5 m", Filter::default(), 300_000),
        ("the fleet, 1 h", Filter::default(), 3_600_000),
        ("one Envoy, 1 h", one, 3_600_000),
    ] {
        let started = cpu_seconds();
        for _ in 0..ASKED {
            let view = views::performance(&fleet, &EnvoyStats::default(), &filter, window_ms, 0, now_ms);
            black_box(&view);
        }
        let each = (cpu_seconds() - started) * 1e3 / f64::from(ASKED);
        println!("  figures of {what}: {each:.1} ms");
        let view = views::performance(&fleet, &EnvoyStats::default(), &filter, window_ms, 0, now_ms);
        assert!(view.sample_count > 0, "{view:?}");
    }
    following();
}

/// What one Envoy's sampled lookups cost to follow: a skewed choice among 100,000 keys.
fn following() {
    let mut what_if = WhatIf::default();
    let (mut state, mut events) = (88_172_645_463_325_252_u64, 0);
    let mut taking = 0.0;
    for second in 0..2_000_u64 {
        let mut samples = KeySamples {
            threshold: EVERY_KEY >> 5,
            ..KeySamples::default()
        };
        while samples.keys.len() < 256 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
            let rank = 100_000_f64.powf(unit) as u64;
            let key = (rank + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) | 1;
            for bytes in [0, 2_000] {
                samples.push(Event {
                    key: key.wrapping_mul(0xbf58_476d_1ce4_e5b9),
                    bytes,
                    usable_s: 600,
                    fresh_s: 600,
                    fetch_ms: 0,
                });
            }
        }
        events += samples.keys.len() / 2;
        let started = cpu_seconds();
        what_if.take(Some(&samples), None, MOST_KEYS, second * 1_000);
        taking += cpu_seconds() - started;
    }
    let each = taking * 1e6 / events as f64;
    println!(
        "  one sampled lookup in {} miniature caches: {each:.1} us; {} KB per Envoy",
        5 * 25,
        what_if.memory() >> 10
    );
}
