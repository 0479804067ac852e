//! How many calls an upstream is given at a time by the filter itself.

use serde_json::{Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader};

const MINUTE_MS: u64 = 60_000;

/// The filter's own limit of calls in flight per upstream of an Envoy: [`super::Settings::max_connections`], or less where the
/// upstream slows down under its load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// False: the filter does not count calls in flight; Envoy's own circuit breaker limits alone.
    pub enabled: bool,
    /// True: the limit follows the upstream's latency between `minimum` and `max_connections` (Gradient2).
    pub adaptive: bool,
    /// Least limit an adaptive one goes down to, calls per Envoy, 1..=1,000,000.
    pub minimum: u32,
    /// Requests that may wait per worker and upstream while the limit is reached, 0..=10,000; 0 = refused at once.
    pub queue: u32,
    /// Longest wait, ms, 1 ms..=1 min; then 503.
    pub queue_timeout_ms: u64,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            enabled: true,
            adaptive: false,
            minimum: 10,
            queue: 256,
            queue_timeout_ms: 1_000,
        }
    }
}

impl Concurrency {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let concurrency = Self {
            enabled: object.boolean("enabled", base.enabled),
            adaptive: object.boolean("adaptive", base.adaptive),
            minimum: object.integer("minimum", base.minimum, 1..=1_000_000),
            queue: object.integer("queue", base.queue, 0..=10_000),
            queue_timeout_ms: object.duration("queue_timeout", base.queue_timeout_ms, 1..=MINUTE_MS),
        };
        object.finish();
        concurrency
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "enabled": self.enabled,
            "adaptive": self.adaptive,
            "minimum": self.minimum,
            "queue": self.queue,
            "queue_timeout": format_duration(self.queue_timeout_ms),
        })
    }
}
