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
    conditions(figures, rules, |_| None)
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
                connections: Some(Fullest {
                    node: "a".to_owned(),
                    upstream: "api".to_owned(),
                    percent: 81.0,
                }),
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
    for (usual, expected) in [(49.0, 0), (51.0, 1)] {
        let idle = Figures {
            usual_throughput: Some(usual),
            ..idle.clone()
        };
        assert_eq!(names(&idle, &Alerts::default()).len(), expected, "usually {usual}");
    }
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
    let found = conditions(&figures, &Alerts::default(), |_| None);
    let names: Vec<_> = found.iter().map(|condition| condition.name).collect();
    assert_eq!(names, ["settings_straggler", "circuit_breaker_open", "cache_thrashing"]);
    assert_eq!(found[1].labels["upstream"], "api");
}

#[test]
fn a_figure_that_swings_around_a_threshold_is_one_alert() {
    use Severity::{Critical, Warning};
    let rules = Alerts::default();
    let slow = |p95_ms| Figures { p95_ms, ..well() };
    let cold = |hit_ratio| Figures { hit_ratio, ..well() };
    for (figures, active_severity, expected) in [
        (slow(9.5), None, None),
        (slow(9.5), Some(Warning), Some(Warning)),
        (slow(9.0), Some(Warning), None),
        (slow(46.0), Some(Warning), Some(Warning)),
        (slow(46.0), Some(Critical), Some(Critical)),
        (slow(45.0), Some(Critical), Some(Warning)),
        (cold(76.0), None, None),
        (cold(76.0), Some(Warning), Some(Warning)),
        (cold(77.1), Some(Warning), None),
    ] {
        let found = conditions(&figures, &rules, |_| active_severity);
        let found = found.first().map(|condition| condition.severity);
        assert_eq!(found, expected, "{figures:?} {active_severity:?}");
    }
    let strict = Alerts {
        cache_hit_ratio: Threshold {
            warning: 98,
            ..rules.cache_hit_ratio
        },
        hysteresis_percent: 50,
        ..Alerts::default()
    };
    assert!(
        conditions(&cold(99.1), &strict, |_| Some(Warning)).is_empty(),
        "the end can be reached"
    );
}

#[test]
fn a_rule_without_thresholds_can_be_switched_off() {
    let mut rules = Alerts::default();
    rules.states.0[0].enabled = false;
    let alone = Figures { envoys: 0, ..well() };
    assert!(names(&alone, &rules).is_empty());
    assert_eq!(
        names(&alone, &Alerts::default()),
        [("no_envoy_connected", Severity::Critical)]
    );
}

#[test]
fn a_tier_that_cannot_be_reached_is_told_with_the_reason() {
    let mut figures = well();
    figures.tier_fault = Some("no answer from redis:6379".to_owned());
    let rules = Alerts::default();
    let condition = conditions(&figures, &rules, |_| None).remove(0);
    assert_eq!(
        (condition.name, condition.severity, condition.summary.as_str()),
        (
            "shared_tier_unreachable",
            Severity::Warning,
            "the store behind the shared tier cannot be used: no answer from redis:6379"
        )
    );
}

#[test]
fn the_end_of_an_experiment_is_told_with_what_came_of_it() {
    for (harmful, name) in [(true, "experiment_harmful"), (false, "experiment_unjudged")] {
        let figures = Figures {
            experiment: Some(EndedBadly {
                id: "7".to_owned(),
                harmful,
                summary: "Rolled back.".to_owned(),
            }),
            ..well()
        };
        let condition = conditions(&figures, &Alerts::default(), |_| None).remove(0);
        assert_eq!(
            (condition.name, condition.severity, condition.for_ms),
            (name, Severity::Warning, 0)
        );
        assert!(condition.happened && condition.labels["experiment"] == "7");
        assert_eq!(condition.summary, "experiment 7: Rolled back.");
    }
}
