use super::*;

const QUIET_MS: u64 = 30_000;

fn condition(severity: Severity) -> Condition {
    Condition {
        name: "p95_latency",
        labels: BTreeMap::new(),
        severity,
        value: 60.0,
        threshold: 50.0,
        for_ms: 30_000,
        summary: "slow".to_owned(),
        happened: false,
    }
}

fn happened() -> Vec<Condition> {
    let condition = Condition {
        name: "experiment_harmful",
        for_ms: 0,
        happened: true,
        ..condition(Severity::Warning)
    };
    vec![condition]
}

#[test]
fn what_has_happened_ends_when_it_is_seen_and_does_not_begin_again() {
    let mut registry = AlertRegistry::default();
    assert_eq!(firing(&registry.evaluate(happened(), QUIET_MS, 0)), [Severity::Warning]);
    let id = registry.active(false)[0].id.clone();
    assert!(registry.acknowledge(&id, "me"));
    let ended = registry.evaluate(happened(), QUIET_MS, 1_000);
    assert!(matches!(ended.as_slice(), [Change::Resolved(alert)] if alert.resolved_at == 1_000));
    assert!(registry.active(true).is_empty() && !registry.acknowledge(&id, "you"));
    let text = serde_json::to_string(&registry).unwrap();
    let mut registry = serde_json::from_str::<AlertRegistry>(&text).unwrap().resumed(2_000);
    assert!(registry.evaluate(happened(), QUIET_MS, 3_000).is_empty());
    assert_eq!((registry.active(true).len(), registry.history().count()), (0, 1));
    assert!(registry.evaluate(Vec::new(), QUIET_MS, 4_000).is_empty(), "it was told");
    assert_eq!(
        firing(&registry.evaluate(happened(), QUIET_MS, 5_000)).len(),
        1,
        "another one"
    );
    // Nobody has seen it: it ends as others do.
    assert!(registry.evaluate(Vec::new(), QUIET_MS, 5_000 + QUIET_MS - 1).is_empty());
    assert_eq!(registry.evaluate(Vec::new(), QUIET_MS, 5_000 + QUIET_MS).len(), 1);
    // Others stay on when they are seen.
    let slow = || vec![condition(Severity::Warning)];
    registry.evaluate(slow(), QUIET_MS, 100_000);
    registry.evaluate(slow(), QUIET_MS, 130_000);
    let id = registry.active(false)[0].id.clone();
    registry.acknowledge(&id, "me");
    assert!(registry.evaluate(slow(), QUIET_MS, 131_000).is_empty() && registry.active(false).len() == 1);
}

fn firing(changes: &[Change]) -> Vec<Severity> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Firing(alert) => Some(alert.severity),
            Change::Resolved(_) => None,
        })
        .collect()
}

#[test]
fn alerts_and_silences_are_bounded() {
    let mut registry = AlertRegistry::default();
    let named = |number: u32| Condition {
        labels: BTreeMap::from([("upstream".to_owned(), number.to_string())]),
        ..condition(Severity::Warning)
    };
    registry.evaluate((0..1_001).map(named).collect(), QUIET_MS, 0);
    assert_eq!(registry.active(true).len(), 1_000);
    let silence = |number: u32| Silence {
        name: number.to_string(),
        by: "operator".to_owned(),
        reason: String::new(),
        until: 1_000,
    };
    assert!((0..200).all(|number| registry.silence(silence(number))));
    assert!(!registry.silence(silence(200)) && registry.silence(silence(7)));
}

#[test]
fn an_alert_waits_fires_once_and_is_resolved_after_quiet() {
    let mut registry = AlertRegistry::default();
    let slow = || vec![condition(Severity::Warning)];
    assert!(registry.evaluate(slow(), QUIET_MS, 0).is_empty());
    assert!(registry.active(false).is_empty() && registry.active(true).len() == 1);
    assert!(registry.evaluate(slow(), QUIET_MS, 29_999).is_empty());
    assert_eq!(
        firing(&registry.evaluate(slow(), QUIET_MS, 30_000)),
        [Severity::Warning]
    );
    assert!(registry.evaluate(slow(), QUIET_MS, 31_000).is_empty());
    assert_eq!(
        firing(&registry.evaluate(vec![condition(Severity::Critical)], QUIET_MS, 32_000)),
        [Severity::Critical]
    );
    assert!(
        registry.evaluate(Vec::new(), QUIET_MS, 61_999).is_empty(),
        "it may come back"
    );
    let ended = registry.evaluate(Vec::new(), QUIET_MS, 62_000);
    assert!(matches!(ended.as_slice(), [Change::Resolved(alert)] if alert.resolved_at == 62_000));
    assert!(registry.active(true).is_empty());
    assert_eq!(registry.history().count(), 1);
}

#[test]
fn what_does_not_last_is_no_alert() {
    let mut registry = AlertRegistry::default();
    for now_ms in (0..100_000).step_by(20_000) {
        registry.evaluate(vec![condition(Severity::Critical)], QUIET_MS, now_ms);
        assert!(registry.evaluate(Vec::new(), QUIET_MS, now_ms + 10_000).is_empty());
    }
    assert!(registry.active(true).is_empty() && registry.history().next().is_none());
}

#[test]
fn a_restart_keeps_what_is_on_and_who_has_seen_it() {
    let mut registry = AlertRegistry::default();
    registry.evaluate(vec![condition(Severity::Critical)], QUIET_MS, 0);
    registry.evaluate(vec![condition(Severity::Critical)], QUIET_MS, 30_000);
    let id = registry.active(false)[0].id.clone();
    let before = registry.version();
    assert!(registry.acknowledge(&id, "me") && registry.version() > before);
    let pending = Condition {
        name: "error_rate",
        ..condition(Severity::Warning)
    };
    registry.evaluate(vec![condition(Severity::Critical), pending], QUIET_MS, 31_000);
    let text = serde_json::to_string(&registry).unwrap();
    let mut registry = serde_json::from_str::<AlertRegistry>(&text).unwrap().resumed(100_000);
    assert_eq!(registry.active(true).len(), 1, "what was pending starts over");
    assert_eq!(registry.active(false)[0].acknowledged_by.as_deref(), Some("me"));
    assert_eq!(registry.active_severity("p95_latency"), Some(Severity::Critical));
    assert!(registry.evaluate(Vec::new(), QUIET_MS, 129_999).is_empty());
    assert!(matches!(
        registry.evaluate(Vec::new(), QUIET_MS, 130_000).as_slice(),
        [Change::Resolved(_)]
    ));
}

#[test]
fn silences_end_by_themselves() {
    let mut registry = AlertRegistry::default();
    let silence = Silence {
        name: "p95_latency".to_owned(),
        by: "me".to_owned(),
        reason: "load test".to_owned(),
        until: 1_000,
    };
    assert!(registry.silence(silence));
    assert!(registry.is_silenced("p95_latency", 999) && !registry.is_silenced("p95_latency", 1_000));
    registry.evaluate(Vec::new(), QUIET_MS, 1_000);
    assert!(registry.silences().is_empty());
}
