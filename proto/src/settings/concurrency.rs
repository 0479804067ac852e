//! How many calls an upstream is given at a time by the filter itself.

use super::rows::{Topic, settings};
use super::scalars::{Flag, count, duration};

const MINUTE_MS: u64 = 60_000;

settings! {
    /// The filter's own limit of calls in flight per upstream of an Envoy: max_connections, or less where the upstream slows down under
    /// its load.
    Concurrency {
        /// False: the filter does not count calls in flight; Envoy's own circuit breaker limits alone.
        "enabled" => enabled: bool = true, Flag, example false;
        /// True: the limit follows the upstream's latency between minimum and max_connections (Gradient2).
        "adaptive" => adaptive: bool = false, Flag, example true;
        /// Least limit an adaptive one goes down to, per Envoy.
        "minimum" => minimum: u32 = 10, count(1..=1_000_000, "calls"), example 20;
        /// Requests that may wait per worker and upstream while the limit is reached. 0: they are refused at once.
        "queue" => queue: u32 = 256, count(0..=10_000, "requests"), example 1_000;
        /// Longest wait; then the answer is 503.
        "queue_timeout" => queue_timeout_ms: u64 = 1_000, duration(1..=MINUTE_MS), example "500ms";
    }
}

impl Topic for Concurrency {}
