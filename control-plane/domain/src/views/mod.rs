//! The figures operators read. Percentages are 0–100, times bare milliseconds, sizes bare megabytes, at most four decimals.

mod cache;
mod errors;
mod hit_ratio;
mod performance;
mod system;
#[cfg(test)]
mod tests;

pub use cache::{CacheStats, EnvoyCache, InvalidationStats, NotUsed, cache, invalidation};
pub use errors::{ErrorDetail, Errors, errors};
pub use hit_ratio::hit_ratio;
pub use performance::{Performance, Sources, performance};
pub use system::{EnvoyMachine, Limits, Machine, System, system};

use crate::telemetry::figure::{Figure, number};
use crate::telemetry::sum::Filter;
use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::Outcome;
use serde::Serialize;
use utoipa::ToSchema;

/// The window of a figure when none is asked for: five minutes.
pub const DEFAULT_WINDOW_MS: u64 = 300_000;
/// Longest window: what is kept.
pub const MAX_WINDOW_MS: u64 = 3_600_000;

/// Outcomes of a request, with their names.
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

fn megabytes(bytes: u64) -> Figure {
    number(bytes as f64 / 1_000_000.0)
}

fn milliseconds(sketch: &Sketch, quantile: f64) -> Figure {
    number(sketch.quantile(quantile).unwrap_or(0.0) / 1_000.0)
}

/// Something per second of the time that is covered.
fn per_second(count: u64, covered_ms: u64) -> f64 {
    count as f64 * 1_000.0 / covered_ms.max(1) as f64
}

fn seconds(window_ms: u64) -> String {
    format!("{}s", window_ms / 1_000)
}

/// The part of the traffic that was asked for; what is absent was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Part {
    /// Only this Envoy, by instance or node id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy: Option<String>,
    /// Only requests of this route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Only requests to this upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

fn shown(filter: &Filter) -> Part {
    Part {
        envoy: filter.envoy.clone(),
        route: filter.route.clone(),
        upstream: filter.upstream.clone(),
    }
}
