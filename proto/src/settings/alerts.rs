//! When the control plane raises alerts.

use super::duration::{HOUR_MS, MINUTE_MS, SECOND_MS};
use super::kinds::object;
use super::rows::{Topic, settings};
use super::scalars::{Flag, count, duration, percent};
use super::state_rules::{StateRule, StateRules};

/// Greatest threshold: larger than any latency in milliseconds or rate anybody alerts on.
const MAX_THRESHOLD: u32 = 10_000_000;

settings! {
    /// Two thresholds of one figure. Critical is never on the harmless side of warning.
    Threshold {
        /// From here on a warning.
        "warning" => warning: u32 = 80, count(0..=MAX_THRESHOLD, "of the figure"), example 75;
        /// From here on critical.
        "critical" => critical: u32 = 95, count(0..=MAX_THRESHOLD, "of the figure"), example 97;
        /// How long the figure must be there before the alert fires.
        "for" => for_ms: u64 = 30 * SECOND_MS, duration(0..=HOUR_MS), example "2m";
    }
}

impl Topic for Threshold {}

settings! {
    /// The alert rules. Defaults are the runbook's thresholds.
    Alerts {
        /// The rules without thresholds.
        "states" => states: StateRules = StateRules::default(), object::<StateRules>(), example {"filter_reloads": {"enabled": false}};
        /// Client latency, 95th percentile, milliseconds.
        "p95_latency" => p95_latency: Threshold = threshold(10, 50, 30 * SECOND_MS), object::<Threshold>(), example {"warning": 20};
        /// Hits per lookup, percent; low is bad.
        "cache_hit_ratio" => cache_hit_ratio: Threshold = threshold(70, 50, MINUTE_MS), object::<Threshold>(), example {"warning": 60};
        /// Failed requests, percent.
        "error_rate" => error_rate: Threshold = threshold(1, 5, 30 * SECOND_MS), object::<Threshold>(), example {"critical": 10};
        /// Requests per second; low is bad. Judged with throughput_expected, or where at this hour there usually are more.
        "throughput" => throughput: Threshold = threshold(50, 20, MINUTE_MS), object::<Threshold>(), example {"critical": 5};
        /// Memory of the control plane's machine or cgroup, percent.
        "memory_usage" => memory_usage: Threshold = threshold(80, 95, 30 * SECOND_MS), object::<Threshold>(), example {"warning": 70};
        /// Processor time of the control plane's machine or cgroup, percent.
        "cpu_usage" => cpu_usage: Threshold = threshold(70, 90, 30 * SECOND_MS), object::<Threshold>(), example {"warning": 80};
        /// Fullest disk the control plane writes to, percent.
        "disk_usage" => disk_usage: Threshold = threshold(80, 95, 5 * MINUTE_MS), object::<Threshold>(), example {"warning": 70};
        /// Open connections to upstreams, percent of max_connections.
        "open_connections" => open_connections: Threshold = threshold(80, 95, MINUTE_MS), object::<Threshold>(), example {"warning": 70};
        /// False: nothing is raised.
        "enabled" => enabled: bool = true, Flag, example false;
        /// Requests in the last minute (for the hit ratio: lookups in the last five) below which no rate is judged.
        "minimum_samples" => minimum_samples: u32 = 100, count(0..=1_000_000, "requests"), example 50;
        /// For how long the condition of an alert must be gone before it is over: one that comes and goes is one alert.
        "resolve_after" => resolve_after_ms: u64 = 30 * SECOND_MS, duration(0..=HOUR_MS), example "1m";
        /// How far a figure must be back within a threshold before the alert ends, as a part of the threshold. Keeps a figure that swings
        /// around a threshold from being a new alert each time.
        "hysteresis_percent" => hysteresis_percent: u32 = 10, percent(0..=50), example 20;
        /// True: traffic is expected around the clock, so that too little of it is an alert.
        "throughput_expected" => throughput_expected: bool = false, Flag, example true;
    }
}

impl Topic for Alerts {}

const fn threshold(warning: u32, critical: u32, for_ms: u64) -> Threshold {
    Threshold {
        warning,
        critical,
        for_ms,
    }
}

impl Alerts {
    /// The rules with two thresholds: name, thresholds, and whether low values are the bad ones.
    #[must_use]
    pub fn thresholds(&self) -> [(&'static str, &Threshold, bool); 8] {
        [
            ("p95_latency", &self.p95_latency, false),
            ("cache_hit_ratio", &self.cache_hit_ratio, true),
            ("error_rate", &self.error_rate, false),
            ("throughput", &self.throughput, true),
            ("memory_usage", &self.memory_usage, false),
            ("cpu_usage", &self.cpu_usage, false),
            ("disk_usage", &self.disk_usage, false),
            ("open_connections", &self.open_connections, false),
        ]
    }

    /// A rule without thresholds; the usual for a name that is none.
    #[must_use]
    pub fn state(&self, name: &str) -> StateRule {
        self.states.of(name)
    }
}
