//! What counting costs, and how far merged quantiles are from exact ones.
//!
//! `cargo bench -p filter-core --features testing --bench telemetry`

use filter_core::telemetry::{Recorder, Sample};
use optimizer_proto::telemetry::{Sketch, delta};
use optimizer_proto::v1::{Outcome, TelemetryDelta};
use std::hint::black_box;
use std::time::Instant;

const WORKERS: usize = 64;
const SAMPLES: usize = 10_000_000;
const ROUNDS: usize = 5;
const REQUESTS: usize = 200_000;

/// A small generator, so that every run sees the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Microseconds as latencies are: most of them small, a long tail over five decades.
    fn latency(&mut self) -> u64 {
        let uniform = |random: &mut Self| (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let normal: f64 = (0..12).map(|_| uniform(self)).sum::<f64>() - 6.0;
        (200.0 * (1.6 * normal).exp()) as u64
    }
}

/// One worker's requests, as its recorder hands them over.
fn worker(seed: u64, samples: usize, exact: &mut Vec<u64>) -> TelemetryDelta {
    let mut random = Random(seed);
    let mut recorder = Recorder::default();
    let (route, upstream) = (recorder.name("default"), recorder.name("origin"));
    for _ in 0..samples {
        let latency_us = random.latency();
        exact.push(latency_us);
        recorder.request(&sample(route, upstream, latency_us));
    }
    recorder.drain().unwrap_or_default()
}

fn sample(route: filter_core::telemetry::Name, upstream: filter_core::telemetry::Name, latency_us: u64) -> Sample {
    Sample {
        route,
        upstream,
        outcome: Outcome::Hit,
        protocol: 0,
        latency_us,
        bytes: 1_000,
        upstream_requests: 0,
        upstream_reused: 0,
    }
}

fn quantiles() {
    let mut exact = Vec::with_capacity(SAMPLES);
    let mut merged = TelemetryDelta::default();
    for number in 0..WORKERS {
        // It divides without a rest.
        let delta = worker(0x9e37_79b9 + number as u64 * 7_919, SAMPLES / WORKERS, &mut exact);
        delta::merge(&mut merged, &delta);
    }
    exact.sort_unstable();
    let latency = merged.requests.into_iter().find_map(|series| series.latency_us);
    let sketch = latency
        .and_then(|message| Sketch::try_from(message).ok())
        .unwrap_or_default();
    assert_eq!(sketch.count(), exact.len() as u64, "no sample is lost");
    println!("{} samples of {WORKERS} workers, merged:", exact.len());
    for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
        let rank = ((q * exact.len() as f64).ceil() as usize).clamp(1, exact.len());
        let (is, estimated) = (exact[rank - 1] as f64, sketch.quantile(q).unwrap_or(0.0));
        let error = (estimated - is).abs() * 100.0 / is;
        println!(
            "  p{:<5} exact {is:>9} us  merged {estimated:>11.1} us  error {error:.3} %",
            q * 100.0
        );
        assert!(error <= 1.0, "p{} is off by {error} %", q * 100.0);
    }
}

/// The best of some rounds, nanoseconds per request.
fn best(mut round: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        round();
        best = best.min(started.elapsed().as_nanos() as f64 / REQUESTS as f64);
    }
    best
}

fn cost() {
    let mut random = Random(1);
    let latencies: Vec<u64> = (0..REQUESTS).map(|_| random.latency()).collect();
    let mut recorder = Recorder::default();
    let per_request = best(|| {
        for latency_us in &latencies {
            let (route, upstream) = (recorder.name("default"), recorder.name("origin"));
            recorder.request(&sample(route, upstream, *latency_us));
            recorder.overhead(latency_us * 50);
            recorder.cache.lookups += 1;
        }
        black_box(&recorder);
    });
    let sketch = best(|| {
        let mut sketch = Sketch::new();
        latencies.iter().for_each(|latency| sketch.record(*latency));
        black_box(sketch);
    });
    println!(
        "recorder: {per_request:.1} ns per request, of which one sketch {sketch:.1} ns; no host call but the clock's"
    );
}

fn main() {
    cost();
    quantiles();
}
