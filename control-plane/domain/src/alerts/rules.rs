//! From figures to what is wrong: a pure function.

use super::Severity;
use optimizer_proto::settings::Alerts;
use std::collections::BTreeMap;

/// For how long a state that is either there or not must last before it is an alert, milliseconds.
const STATE_FOR_MS: u64 = 10_000;

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
    /// Open connections to upstreams, percent of what is allowed.
    pub connections: Option<f64>,
    /// Requests behind the rates.
    pub requests: u64,
    /// Lookups behind the hit ratio.
    pub lookups: u64,
    /// Responses stored and evicted in the last five minutes.
    pub stores: u64,
    /// See `stores`.
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
    /// Filter VMs started anew in the last five minutes.
    pub vm_reloads: u64,
    /// Why settings cannot be kept.
    pub storage_fault: Option<String>,
}

/// Something that is wrong at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The rule.
    pub name: &'static str,
    /// What it is about: an upstream, an Envoy, a key.
    pub labels: BTreeMap<String, String>,
    /// How bad.
    pub severity: Severity,
    /// The figure.
    pub value: f64,
    /// What it is compared with.
    pub threshold: f64,
    /// How long it must last to be an alert, milliseconds.
    pub for_ms: u64,
    /// One sentence.
    pub summary: String,
}

/// Everything that is wrong.
#[must_use]
pub fn conditions(figures: &Figures, rules: &Alerts) -> Vec<Condition> {
    if !rules.enabled {
        return Vec::new();
    }
    let mut found: Vec<Condition> = rules
        .thresholds()
        .into_iter()
        .filter_map(|(name, threshold, low_is_bad)| {
            let (value, unit) = value_of(name, figures, rules)?;
            judge(name, value, unit, threshold, low_is_bad)
        })
        .collect();
    found.extend(states(figures));
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
        "throughput" => rules
            .throughput_expected
            .then_some((figures.throughput, " requests per second")),
        "memory_usage" => Some((figures.memory?, " %")),
        "cpu_usage" => Some((figures.cpu?, " %")),
        "disk_usage" => Some((figures.disk?, " %")),
        "open_connections" => Some((figures.connections?, " % of max_connections")),
        _ => None,
    }
}

fn judge(
    name: &'static str,
    value: f64,
    unit: &str,
    threshold: &optimizer_proto::settings::Threshold,
    low_is_bad: bool,
) -> Option<Condition> {
    let beyond = |limit: u32| {
        let limit = f64::from(limit);
        if low_is_bad { value < limit } else { value > limit }
    };
    let (severity, limit) = if beyond(threshold.critical) {
        (Severity::Critical, threshold.critical)
    } else if beyond(threshold.warning) {
        (Severity::Warning, threshold.warning)
    } else {
        return None;
    };
    let relation = if low_is_bad { "below" } else { "above" };
    Some(Condition {
        name,
        labels: BTreeMap::new(),
        severity,
        value,
        threshold: f64::from(limit),
        for_ms: threshold.for_ms,
        summary: format!("{name} is {value:.2}{unit}, {relation} {limit}{unit}"),
    })
}

/// Rules about states rather than figures.
fn states(figures: &Figures) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut add = |name, severity, label: Option<(&str, &str)>, value: f64, summary: String| {
        found.push(Condition {
            name,
            labels: label
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            severity,
            value,
            threshold: 0.0,
            for_ms: STATE_FOR_MS,
            summary,
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
    if let Some(fault) = &figures.storage_fault {
        add("settings_not_kept", Severity::Warning, None, 1.0, fault.clone());
    }
    if figures.vm_reloads > 0 {
        #[allow(clippy::cast_precision_loss)]
        let value = figures.vm_reloads as f64;
        let summary = format!("the filter was started anew {value} times in five minutes");
        add("filter_reloads", Severity::Warning, None, value, summary);
    }
    // Half of what is stored is pushed out again before long, and the hit ratio suffers.
    if figures.stores >= 1_000 && figures.evictions * 2 > figures.stores && figures.hit_ratio < 70.0 {
        #[allow(clippy::cast_precision_loss)]
        let value = figures.evictions as f64 * 100.0 / figures.stores as f64;
        let summary =
            format!("{value:.0} evictions per 100 stored responses: the cache is too small for what it is asked");
        add("cache_thrashing", Severity::Warning, None, value, summary);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Figures {
        Figures {
            hit_ratio: 90.0,
            requests: 1_000,
            lookups: 1_000,
            envoys: 1,
            memory: Some(10.0),
            ..Figures::default()
        }
    }

    fn names(figures: &Figures, rules: &Alerts) -> Vec<(&'static str, Severity)> {
        conditions(figures, rules)
            .into_iter()
            .map(|condition| (condition.name, condition.severity))
            .collect()
    }

    #[test]
    fn the_runbooks_thresholds() {
        use Severity::{Critical, Warning};
        let rules = Alerts::default();
        let table: [(&str, Figures, Option<Severity>); 12] = [
            ("p95_latency", Figures { p95_ms: 10.0, ..well() }, None),
            ("p95_latency", Figures { p95_ms: 10.1, ..well() }, Some(Warning)),
            ("p95_latency", Figures { p95_ms: 50.1, ..well() }, Some(Critical)),
            (
                "cache_hit_ratio",
                Figures {
                    hit_ratio: 69.9,
                    ..well()
                },
                Some(Warning),
            ),
            (
                "cache_hit_ratio",
                Figures {
                    hit_ratio: 49.0,
                    ..well()
                },
                Some(Critical),
            ),
            (
                "error_rate",
                Figures {
                    error_rate: 1.0,
                    ..well()
                },
                None,
            ),
            (
                "error_rate",
                Figures {
                    error_rate: 6.0,
                    ..well()
                },
                Some(Critical),
            ),
            (
                "memory_usage",
                Figures {
                    memory: Some(80.5),
                    ..well()
                },
                Some(Warning),
            ),
            (
                "cpu_usage",
                Figures {
                    cpu: Some(91.0),
                    ..well()
                },
                Some(Critical),
            ),
            (
                "disk_usage",
                Figures {
                    disk: Some(96.0),
                    ..well()
                },
                Some(Critical),
            ),
            (
                "open_connections",
                Figures {
                    connections: Some(81.0),
                    ..well()
                },
                Some(Warning),
            ),
            ("throughput", well(), None),
        ];
        for (name, figures, expected) in table {
            let expected: Vec<_> = expected.into_iter().map(|severity| (name, severity)).collect();
            assert_eq!(names(&figures, &rules), expected, "{figures:?}");
        }
    }

    #[test]
    fn too_few_samples_are_no_alert() {
        let idle = Figures {
            hit_ratio: 0.0,
            p95_ms: 1_000.0,
            error_rate: 100.0,
            requests: 99,
            lookups: 99,
            envoys: 1,
            ..Figures::default()
        };
        assert!(names(&idle, &Alerts::default()).is_empty());
        let expecting = Alerts {
            throughput_expected: true,
            ..Alerts::default()
        };
        assert_eq!(names(&idle, &expecting), [("throughput", Severity::Critical)]);
        let off = Alerts {
            enabled: false,
            ..expecting
        };
        assert!(names(&Figures::default(), &off).is_empty());
    }

    #[test]
    fn states_have_their_labels() {
        let figures = Figures {
            open_breakers: vec!["api".to_owned()],
            stragglers: vec!["gateway-1".to_owned()],
            stores: 2_000,
            evictions: 1_500,
            hit_ratio: 60.0,
            lookups: 0,
            ..well()
        };
        let found = conditions(&figures, &Alerts::default());
        let names: Vec<_> = found.iter().map(|condition| condition.name).collect();
        assert_eq!(names, ["settings_straggler", "circuit_breaker_open", "cache_thrashing"]);
        assert_eq!(found[1].labels["upstream"], "api");
    }
}
