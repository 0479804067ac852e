//! From figures to what is wrong: a pure function.

use super::Severity;
use crate::fleet::faults::Fault;
use crate::telemetry::envoy_stats::Fullest;
use optimizer_proto::settings::{Alerts, Quarantined, Threshold};
use std::collections::BTreeMap;

/// The figures the rules judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// 95th percentile of client latency, milliseconds.
    pub p95_ms: f64,
    /// Hits per lookup, percent.
    pub hit_ratio: f64,
    /// Failed requests, percent.
    pub error_rate: f64,
    /// Requests per second.
    pub throughput: f64,
    /// Memory in use, percent; `None` where the machine does not tell.
    pub memory: Option<f64>,
    /// Processor in use, percent.
    pub cpu: Option<f64>,
    /// Disk in use, percent.
    pub disk: Option<f64>,
    /// Requests per second at this hour as it usually is; `None` where nothing is usual yet.
    pub usual_throughput: Option<f64>,
    /// Where open connections to an upstream come nearest to what is allowed.
    pub connections: Option<Fullest>,
    /// Requests behind the rates.
    pub requests: u64,
    /// Lookups behind the hit ratio.
    pub lookups: u64,
    /// Responses stored and evicted in the last five minutes.
    pub stores: u64,
    /// Responses evicted in the last five minutes.
    pub evictions: u64,
    /// Envoys present.
    pub envoys: usize,
    /// Envoys without the revision that ought to be in force.
    pub stragglers: Vec<String>,
    /// Envoys that refused a revision.
    pub refusing: Vec<String>,
    /// ConfigMap keys whose value is refused, with the reason.
    pub refused_keys: BTreeMap<String, String>,
    /// Upstreams whose breaker is open somewhere.
    pub open_breakers: Vec<String>,
    /// Routes that are not cached, because their responses depend on what is not in the key.
    pub quarantined: Vec<Quarantined>,
    /// The last experiment, where somebody is to hear how it ended.
    pub experiment: Option<EndedBadly>,
    /// Filter VMs started anew in the last five minutes.
    pub vm_reloads: u64,
    /// Why settings cannot be kept.
    pub storage_fault: Option<String>,
    /// Why the store behind the shared cache tier cannot be reached.
    pub tier_fault: Option<String>,
    /// Envoys whose reports are refused, lately.
    pub bad_reporters: Vec<String>,
    /// What else is wrong with Envoys.
    pub envoy_faults: Vec<Fault>,
}

/// An experiment whose end somebody is to hear of.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedBadly {
    /// By which it is asked for.
    pub id: String,
    /// The change did harm; else nobody judged it any more.
    pub harmful: bool,
    /// How it ended, for people.
    pub summary: String,
}

/// Something that is wrong at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The rule.
    pub name: &'static str,
    /// What it is about: an upstream, an Envoy, a key.
    pub labels: BTreeMap<String, String>,
    /// Its severity.
    pub severity: Severity,
    /// The figure.
    pub value: f64,
    /// What it is compared with.
    pub threshold: f64,
    /// How long it must last to be an alert, milliseconds.
    pub for_ms: u64,
    /// A sentence for people.
    pub summary: String,
    /// It has happened and is over: its alert ends when somebody has seen it.
    pub happened: bool,
}

/// All conditions that are met. `active_severity` returns the severity of a rule's active alert, which ends only when the
/// figure is well within the threshold again.
#[must_use]
pub fn conditions(
    figures: &Figures,
    rules: &Alerts,
    active_severity: impl Fn(&str) -> Option<Severity>,
) -> Vec<Condition> {
    if !rules.enabled {
        return Vec::new();
    }
    let mut found: Vec<Condition> = rules
        .thresholds()
        .into_iter()
        .filter_map(|(name, threshold, low_is_bad)| {
            let (value, unit) = value_of(name, figures, rules)?;
            let bounds = Bounds {
                threshold,
                low_is_bad,
                ceiling: (name == "cache_hit_ratio").then_some(100.0),
                relief: f64::from(rules.hysteresis_percent) / 100.0,
            };
            let mut condition = bounds.judge(name, value, unit, active_severity(name))?;
            if let Some(fullest) = figures.connections.as_ref().filter(|_| name == "open_connections") {
                condition.summary = format!("{} ({} to {})", condition.summary, fullest.node, fullest.upstream);
            }
            Some(condition)
        })
        .collect();
    found.extend(states(figures, rules));
    found
}

/// The value a rule judges; `None` when there is too little behind it.
fn value_of(name: &str, figures: &Figures, rules: &Alerts) -> Option<(f64, &'static str)> {
    let minimum = u64::from(rules.minimum_samples);
    let enough = |samples: u64| samples > 0 && samples >= minimum;
    match name {
        "p95_latency" => enough(figures.requests).then_some((figures.p95_ms, " ms")),
        "error_rate" => enough(figures.requests).then_some((figures.error_rate, " %")),
        // No traffic is not a low hit ratio.
        "cache_hit_ratio" => enough(figures.lookups).then_some((figures.hit_ratio, " %")),
        "throughput" => {
            let usual = figures.usual_throughput;
            let expected = usual.is_some_and(|usual| usual >= f64::from(rules.throughput.warning));
            (rules.throughput_expected || expected).then_some((figures.throughput, " requests per second"))
        }
        "memory_usage" => Some((figures.memory?, " %")),
        "cpu_usage" => Some((figures.cpu?, " %")),
        "disk_usage" => Some((figures.disk?, " %")),
        "open_connections" => Some((figures.connections.as_ref()?.percent, " % of max_connections")),
        _ => None,
    }
}

/// What a figure is compared with.
struct Bounds<'a> {
    threshold: &'a Threshold,
    low_is_bad: bool,
    /// What the figure can be at most.
    ceiling: Option<f64>,
    relief: f64,
}

impl Bounds<'_> {
    fn judge(
        &self,
        name: &'static str,
        value: f64,
        unit: &str,
        active_severity: Option<Severity>,
    ) -> Option<Condition> {
        let (warning, critical) = (self.threshold.warning, self.threshold.critical);
        let (severity, limit) = if self.is_beyond(value, critical, active_severity == Some(Severity::Critical)) {
            (Severity::Critical, critical)
        } else if self.is_beyond(value, warning, active_severity.is_some()) {
            (Severity::Warning, warning)
        } else {
            return None;
        };
        let relation = if self.low_is_bad { "below" } else { "above" };
        let strictly = if self.low_is_bad {
            value < f64::from(limit)
        } else {
            value > f64::from(limit)
        };
        let relation = if strictly {
            relation.to_owned()
        } else {
            format!("was {relation}")
        };
        Some(Condition {
            name,
            labels: BTreeMap::new(),
            severity,
            value,
            threshold: f64::from(limit),
            for_ms: self.threshold.for_ms,
            summary: format!("{name} is {value:.2}{unit}, {relation} {limit}{unit}"),
            happened: false,
        })
    }

    fn is_beyond(&self, value: f64, limit: u32, is_active: bool) -> bool {
        let limit = f64::from(limit);
        let relief = if is_active { limit * self.relief } else { 0.0 };
        if self.low_is_bad {
            // Half of the way to the best there is: what must be reached to be well has to be reachable.
            let half_way = self.ceiling.map_or(f64::INFINITY, |ceiling| (ceiling - limit) / 2.0);
            value < limit + relief.min(half_way)
        } else {
            value > limit - relief
        }
    }
}

/// Rules about what has happened and is over.
const HAPPENED: [&str; 2] = ["experiment_harmful", "experiment_unjudged"];

/// Rules about states rather than figures.
fn states(figures: &Figures, rules: &Alerts) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut add = |name, severity, label: Option<(&str, &str)>, value: f64, summary: String| {
        let rule = rules.state(name);
        if !rule.enabled {
            return;
        }
        found.push(Condition {
            name,
            labels: label
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            severity,
            value,
            threshold: 0.0,
            for_ms: rule.for_ms,
            summary,
            happened: HAPPENED.contains(&name),
        });
    };
    if figures.envoys == 0 {
        add(
            "no_envoy_connected",
            Severity::Critical,
            None,
            0.0,
            "no Envoy is connected".to_owned(),
        );
    }
    for envoy in &figures.stragglers {
        let summary = format!("{envoy} does not run on the settings in force");
        add(
            "settings_straggler",
            Severity::Warning,
            Some(("envoy", envoy)),
            1.0,
            summary,
        );
    }
    for envoy in &figures.refusing {
        let summary = format!("{envoy} refused the settings");
        add(
            "settings_refused",
            Severity::Warning,
            Some(("envoy", envoy)),
            1.0,
            summary,
        );
    }
    for (key, reason) in &figures.refused_keys {
        let summary = format!("ConfigMap key {key} is refused, its last good value stays: {reason}");
        add(
            "config_map_refused",
            Severity::Warning,
            Some(("key", key)),
            1.0,
            summary,
        );
    }
    for upstream in &figures.open_breakers {
        let summary = format!("the circuit breaker of {upstream} is open");
        add(
            "circuit_breaker_open",
            Severity::Critical,
            Some(("upstream", upstream)),
            1.0,
            summary,
        );
    }
    for entry in &figures.quarantined {
        let place = match &entry.route {
            Some(route) => format!("route {route}"),
            None => format!("{}{}", entry.host, entry.path_prefix),
        };
        let depends_on = entry.depends_on.join(", ");
        let summary = format!("{place} is not cached: its responses depend on {depends_on}, which is not in the key");
        let label = Some(("finding", entry.id.as_str()));
        add("sharing_quarantined", Severity::Critical, label, 1.0, summary);
    }
    if let Some(ended) = &figures.experiment {
        let [harmful, unjudged] = HAPPENED;
        let name = if ended.harmful { harmful } else { unjudged };
        let summary = format!("experiment {}: {}", ended.id, ended.summary);
        let label = Some(("experiment", ended.id.as_str()));
        add(name, Severity::Warning, label, 1.0, summary);
    }
    for envoy in &figures.bad_reporters {
        let summary = format!("{envoy} sends reports that cannot be true; they are not counted");
        add(
            "reports_refused",
            Severity::Warning,
            Some(("envoy", envoy)),
            1.0,
            summary,
        );
    }
    for fault in &figures.envoy_faults {
        let severity = if fault.is_severe {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let label = Some(("envoy", fault.envoy.as_str()));
        add(fault.kind.rule(), severity, label, 1.0, fault.reason.clone());
    }
    if let Some(fault) = &figures.storage_fault {
        add("settings_not_kept", Severity::Warning, None, 1.0, fault.clone());
    }
    if let Some(fault) = &figures.tier_fault {
        let summary = format!("the store behind the shared tier cannot be used: {fault}");
        add("shared_tier_unreachable", Severity::Warning, None, 1.0, summary);
    }
    if figures.vm_reloads > 0 {
        let value = figures.vm_reloads as f64;
        let summary = format!("the filter was started anew {value} times in five minutes");
        add("filter_reloads", Severity::Warning, None, value, summary);
    }
    // Half of what is stored is pushed out again before long, and the hit ratio suffers.
    if figures.stores >= 1_000 && figures.evictions * 2 > figures.stores && figures.hit_ratio < 70.0 {
        let value = figures.evictions as f64 * 100.0 / figures.stores as f64;
        let summary =
            format!("{value:.0} evictions per 100 stored responses: the cache is too small for what it is asked");
        add("cache_thrashing", Severity::Warning, None, value, summary);
    }
    found
}

#[cfg(test)]
mod tests;
