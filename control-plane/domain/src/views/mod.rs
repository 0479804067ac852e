//! The figures operators read. Percentages are 0–100, times bare milliseconds, sizes bare megabytes, at most four decimals.

mod breakers;
mod cache;
mod errors;
mod performance;
mod system;
#[cfg(test)]
mod tests;

pub use breakers::worst_state;
pub(crate) use breakers::{rank, state_of};
pub use cache::{Held, cache, held, held_of, invalidation};
pub use errors::errors;
pub use performance::{hit_ratio, performance};
pub use system::{System, system};

use crate::sum::Filter;
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

/// What can become of a request, with the word for it.
pub const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Hit, "hit"),
    (Outcome::Stale, "stale"),
    (Outcome::Revalidated, "revalidated"),
    (Outcome::Miss, "miss"),
    (Outcome::Bypass, "bypass"),
    (Outcome::Shed, "shed"),
    (Outcome::Error, "error"),
];

/// Answered from the cache without asking the upstream.
pub const FROM_CACHE: [Outcome; 2] = [Outcome::Hit, Outcome::Stale];
/// Looked up, and the upstream had to be asked.
pub const MISSED: [Outcome; 2] = [Outcome::Miss, Outcome::Revalidated];
/// Went to the upstream, for whatever reason.
pub const FORWARDED: [Outcome; 4] = [Outcome::Revalidated, Outcome::Miss, Outcome::Bypass, Outcome::Error];

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

/// Something per second of the time that is covered.
#[allow(clippy::cast_precision_loss)]
fn per_second(count: u64, covered_ms: u64) -> f64 {
    count as f64 * 1_000.0 / covered_ms.max(1) as f64
}

fn seconds(window_ms: u64) -> String {
    format!("{}s", window_ms / 1_000)
}

/// What was asked for, as the answer tells it.
fn shown(filter: &Filter) -> Value {
    let mut parts = serde_json::Map::new();
    for (name, value) in [
        ("envoy", &filter.envoy),
        ("route", &filter.route),
        ("upstream", &filter.upstream),
    ] {
        parts.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    Value::Object(parts)
}
