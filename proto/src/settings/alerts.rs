//! When the control plane raises alerts.

use serde_json::{Map, Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Greatest threshold: larger than any latency in milliseconds or rate anybody alerts on.
const MAX_THRESHOLD: u32 = 10_000_000;

/// Two thresholds of one figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// From here on a warning, in the unit of the figure.
    pub warning: u32,
    /// From here on critical, in the unit of the figure.
    pub critical: u32,
    /// How long the figure must be there before the alert fires, ms, 0..=1 h.
    pub for_ms: u64,
}

/// Rules about something that is either there or not.
pub const STATE_RULES: [&str; 14] = [
    "no_envoy_connected",
    "settings_straggler",
    "settings_refused",
    "config_map_refused",
    "circuit_breaker_open",
    "settings_not_kept",
    "filter_reloads",
    "cache_thrashing",
    "reports_refused",
    "envoy_overloaded",
    "envoy_configuration_refused",
    "filter_missing",
    "figures_missing",
    "errors_unseen",
];

/// One of [`STATE_RULES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRule {
    /// False: not raised.
    pub enabled: bool,
    /// How long it must last before the alert fires, ms, 0..=1 h.
    pub for_ms: u64,
}

/// The alert rules. Defaults are the runbook's thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// False: nothing is raised.
    pub enabled: bool,
    /// Requests in the last minute (for the hit ratio: lookups in the last five) below which no rate is judged, 0..=1,000,000.
    pub minimum_samples: u32,
    /// How far a figure must be back within a threshold before the alert ends, percent of the threshold, 0..=50. Keeps a figure
    /// that swings around a threshold from being a new alert each time.
    pub hysteresis_percent: u32,
    /// For how long the condition of an alert must be gone before it is over, ms, 0..=1 h: one that comes and goes is one alert.
    pub resolve_after_ms: u64,
    /// Client latency, 95th percentile, milliseconds.
    pub p95_latency: Threshold,
    /// Hits per lookup, percent; low is bad.
    pub cache_hit_ratio: Threshold,
    /// Failed requests, percent.
    pub error_rate: Threshold,
    /// Requests per second; low is bad. Judged with `throughput_expected`, or where at this hour there usually are more.
    pub throughput: Threshold,
    /// True: traffic is expected around the clock, so that too little of it is an alert.
    pub throughput_expected: bool,
    /// Memory of the control plane's machine or cgroup, percent.
    pub memory_usage: Threshold,
    /// Processor time of the control plane's machine or cgroup, percent.
    pub cpu_usage: Threshold,
    /// Fullest disk the control plane writes to, percent.
    pub disk_usage: Threshold,
    /// Open connections to upstreams, percent of `max_connections`.
    pub open_connections: Threshold,
    /// The rules without thresholds, in the order of [`STATE_RULES`].
    pub states: [StateRule; STATE_RULES.len()],
}

const fn threshold(warning: u32, critical: u32, for_ms: u64) -> Threshold {
    Threshold {
        warning,
        critical,
        for_ms,
    }
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            enabled: true,
            minimum_samples: 100,
            hysteresis_percent: 10,
            resolve_after_ms: 30 * SECOND_MS,
            p95_latency: threshold(10, 50, 30 * SECOND_MS),
            cache_hit_ratio: threshold(70, 50, MINUTE_MS),
            error_rate: threshold(1, 5, 30 * SECOND_MS),
            throughput: threshold(50, 20, MINUTE_MS),
            throughput_expected: false,
            memory_usage: threshold(80, 95, 30 * SECOND_MS),
            cpu_usage: threshold(70, 90, 30 * SECOND_MS),
            disk_usage: threshold(80, 95, 5 * MINUTE_MS),
            open_connections: threshold(80, 95, MINUTE_MS),
            states: STATE_RULES.map(StateRule::usual),
        }
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
        let known = STATE_RULES.iter().position(|rule| *rule == name);
        let rule = known.and_then(|at| self.states.get(at)).copied();
        rule.unwrap_or_else(|| StateRule::usual(name))
    }

    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let states = match object.field("states") {
            Some((path, value)) => read_states(path, value, object.findings),
            None => base.states,
        };
        let mut rule = |name, base: Threshold| match object.field(name) {
            Some((path, value)) => Threshold::read(path, value, &base, object.findings),
            None => base,
        };
        let alerts = Self {
            p95_latency: rule("p95_latency", base.p95_latency),
            cache_hit_ratio: rule("cache_hit_ratio", base.cache_hit_ratio),
            error_rate: rule("error_rate", base.error_rate),
            throughput: rule("throughput", base.throughput),
            memory_usage: rule("memory_usage", base.memory_usage),
            cpu_usage: rule("cpu_usage", base.cpu_usage),
            disk_usage: rule("disk_usage", base.disk_usage),
            open_connections: rule("open_connections", base.open_connections),
            enabled: object.boolean("enabled", base.enabled),
            minimum_samples: object.integer("minimum_samples", base.minimum_samples, 0..=1_000_000),
            resolve_after_ms: object.duration("resolve_after", base.resolve_after_ms, 0..=HOUR_MS),
            hysteresis_percent: object.integer("hysteresis_percent", base.hysteresis_percent, 0..=50),
            states,
            throughput_expected: object.boolean("throughput_expected", base.throughput_expected),
        };
        object.finish();
        alerts
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("enabled".to_owned(), json!(self.enabled));
        object.insert("minimum_samples".to_owned(), json!(self.minimum_samples));
        object.insert("throughput_expected".to_owned(), json!(self.throughput_expected));
        for (name, threshold, _) in self.thresholds() {
            object.insert(name.to_owned(), threshold.to_json());
        }
        object.insert(
            "resolve_after".to_owned(),
            json!(format_duration(self.resolve_after_ms)),
        );
        object.insert("hysteresis_percent".to_owned(), json!(self.hysteresis_percent));
        let states = STATE_RULES.iter().zip(&self.states);
        let states = states.map(|(name, rule)| ((*name).to_owned(), rule.to_json()));
        object.insert("states".to_owned(), Value::Object(states.collect()));
        Value::Object(object)
    }
}

fn read_states(path: String, value: &Value, findings: &mut Findings) -> [StateRule; STATE_RULES.len()] {
    let mut states = STATE_RULES.map(StateRule::usual);
    let Some(mut object) = ObjectReader::open(path, value, findings) else {
        return states;
    };
    for (name, rule) in STATE_RULES.iter().zip(&mut states) {
        if let Some((path, value)) = object.field(name) {
            *rule = StateRule::read(path, value, *rule, object.findings);
        }
    }
    object.finish();
    states
}

impl StateRule {
    fn usual(name: &str) -> Self {
        Self {
            enabled: true,
            // After a restart of the control plane the whole fleet needs a moment to come back.
            for_ms: if name == "no_envoy_connected" {
                30 * SECOND_MS
            } else {
                10 * SECOND_MS
            },
        }
    }

    fn read(path: String, value: &Value, base: Self, findings: &mut Findings) -> Self {
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let rule = Self {
            enabled: object.boolean("enabled", base.enabled),
            for_ms: object.duration("for", base.for_ms, 0..=HOUR_MS),
        };
        object.finish();
        rule
    }

    fn to_json(self) -> Value {
        json!({ "enabled": self.enabled, "for": format_duration(self.for_ms) })
    }
}

impl Threshold {
    fn read(path: String, value: &Value, base: &Self, findings: &mut Findings) -> Self {
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base.clone();
        };
        let threshold = Self {
            warning: object.integer("warning", base.warning, 0..=MAX_THRESHOLD),
            critical: object.integer("critical", base.critical, 0..=MAX_THRESHOLD),
            for_ms: object.duration("for", base.for_ms, 0..=HOUR_MS),
        };
        object.finish();
        threshold
    }

    fn to_json(&self) -> Value {
        json!({ "warning": self.warning, "critical": self.critical, "for": format_duration(self.for_ms) })
    }
}
