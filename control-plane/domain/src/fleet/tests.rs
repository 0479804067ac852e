use super::*;
use crate::telemetry::sum::Filter;
use optimizer_proto::v1::CacheCounters;

fn hello(name: &str) -> Hello {
    Hello {
        instance_id: name.to_owned(),
        node_id: format!("node-{name}"),
        ..Hello::default()
    }
}

fn report(sequence: u64, lookups: u64) -> TelemetryReport {
    let cache = Some(CacheCounters {
        lookups,
        ..Default::default()
    });
    TelemetryReport {
        sequence,
        delta: Some(TelemetryDelta {
            cache,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn a_module_is_that_of_the_newest_process_that_is_connected() {
    let mut fleet = Fleet::default();
    let hello = |process: &str, module: &str| Hello {
        node_id: "node".to_owned(),
        module: module.to_owned(),
        ..hello(process)
    };
    fleet.hello(&hello("before", "old"), 1, 1_000);
    fleet.hello(&hello("after", "new"), 2, 2_000);
    assert_eq!(fleet.module_of("node"), Some("new"));
    assert_eq!(fleet.modules().get("node").map(String::as_str), Some("new"));
    for (process, connection) in [("after", 2), ("before", 1)] {
        fleet.gone(&instance(&hello(process, "")), connection);
    }
    assert_eq!(fleet.module_of("node"), None);
    assert!(fleet.modules().is_empty());
}

#[test]
fn a_report_counts_once_also_over_a_reconnect() {
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 1000);
    assert_eq!(fleet.reported("a", &report(1, 5), 1000), Reported::Merged);
    fleet.gone("a", 1);
    fleet.hello(&hello("a"), 2, 2000);
    assert_eq!(fleet.reported("a", &report(1, 5), 2000), Reported::Duplicate);
    assert_eq!(fleet.reported("a", &report(2, 1), 2000), Reported::Merged);
    assert_eq!(fleet.recent(60_000, 2000).cache.lookups, 6);
    assert_eq!(fleet.reports(), (2, &BTreeMap::from([("duplicate", 1)])));
    assert_eq!(fleet.reported("b", &report(1, 1), 2000), Reported::Stranger);
}

#[test]
fn stragglers_are_the_connected_without_the_revision() {
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 0);
    fleet.hello(&hello("b"), 2, 0);
    let ack = |accepted| SettingsAck {
        revision: 3,
        epoch: "e".to_owned(),
        accepted,
        ..Default::default()
    };
    fleet.acknowledged("a", &ack(true), 0);
    assert_eq!(fleet.stragglers("e", 3), ["node-b"]);
    assert_eq!(fleet.stragglers("other", 3).len(), 2);
    let names = || ["a", "b", "c"].into_iter();
    assert_eq!(fleet.rollout_status(names(), "e", 3).late, ["node-b"]);
    assert!(fleet.awaits_any(names(), "e", 3) && !fleet.awaits_any(["a", "c"].into_iter(), "e", 3));
    fleet.acknowledged("b", &ack(false), 0);
    let rollout_status = fleet.rollout_status(names(), "e", 3);
    assert!(rollout_status.late.is_empty() && rollout_status.refused[0].0 == "node-b");
    assert!(!fleet.awaits_any(names(), "e", 3), "a refusal is an answer");
    assert_eq!(fleet.stragglers("e", 3), ["node-b"]);
    fleet.gone("b", 1);
    assert_eq!(fleet.stragglers("e", 3), ["node-b"], "another connection ended");
    fleet.gone("b", 2);
    assert!(fleet.stragglers("e", 3).is_empty());
}

#[test]
fn an_envoy_is_where_it_came_last_and_nowhere_when_that_replica_is_gone() {
    let at = |when: u64, replica: u64| when << REPLICA_BITS | replica;
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), at(1, 7), 0);
    fleet.hello_elsewhere(&hello("a"), at(2, 8), 0);
    fleet.hello_elsewhere(&hello("a"), at(1, 9), 0);
    assert_eq!(fleet.get("a").unwrap().connection, Some(at(2, 8)));
    fleet.gone("a", at(1, 7));
    fleet.keep_connections_of(|replica| replica == 8);
    assert_eq!(fleet.get("a").unwrap().connection, Some(at(2, 8)));
    fleet.keep_connections_of(|replica| replica == 7);
    assert_eq!(fleet.get("a").unwrap().connection, None);
}

#[test]
fn who_is_away_for_long_is_forgotten() {
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 0);
    fleet.reported("a", &report(1, 5), 0);
    fleet.gone("a", 1);
    assert_eq!(fleet.present(4_999).count(), 1);
    assert_eq!(fleet.present(5_000).count(), 0);
    fleet.hello(&hello("b"), 2, FORGOTTEN_AFTER_MS);
    assert_eq!(fleet.envoys().count(), 1);
}

#[test]
fn of_one_that_only_said_its_name_nothing_is_kept() {
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 0);
    fleet.gone("a", 1);
    assert_eq!(fleet.envoys().count(), 0);
    let violation = |length: usize| Violation {
        path: "p".repeat(length),
        code: "c".repeat(length),
        message: "\u{e9}".repeat(length),
    };
    fleet.hello(&hello("b"), 2, 0);
    let ack = SettingsAck {
        accepted: true,
        epoch: "e".repeat(10_000),
        violations: vec![violation(10_000); 1_000],
        ..SettingsAck::default()
    };
    fleet.acknowledged("b", &ack, 0);
    let kept: usize = fleet
        .get("b")
        .unwrap()
        .ignored
        .iter()
        .map(|one| one.path.len() + one.code.len() + one.message.len())
        .sum();
    assert!(kept <= 16 * 832, "{kept}");
    let long = Hello {
        node_id: "n".repeat(257),
        ..hello("c")
    };
    assert_eq!(
        (Fleet::too_long(&long), Fleet::too_long(&hello("c"))),
        (Some("node_id"), None)
    );
}

#[test]
fn totals_do_not_shrink_when_an_envoy_is_forgotten() {
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 0);
    fleet.reported("a", &report(1, 5), 0);
    fleet.gone("a", 1);
    fleet.hello(&hello("b"), 2, FORGOTTEN_AFTER_MS);
    fleet.reported("b", &report(1, 1), FORGOTTEN_AFTER_MS);
    assert_eq!((fleet.envoys().count(), fleet.totals().cache.lookups), (1, 6));
}

#[test]
fn one_envoy_is_asked_for_by_instance_or_node() {
    let mut fleet = Fleet::default();
    for (name, lookups) in [("a", 5), ("b", 7)] {
        fleet.hello(&hello(name), 1, 0);
        fleet.reported(name, &report(1, lookups), 0);
    }
    for (envoy, lookups) in [("a", 5), ("node-b", 7), ("nobody", 0)] {
        let filter = Filter {
            envoy: Some(envoy.to_owned()),
            ..Filter::default()
        };
        assert_eq!(fleet.recent_of(&filter, 60_000, 0).cache.lookups, lookups, "{envoy}");
    }
}

#[test]
fn the_rate_of_a_fleet_adds_up_what_each_envoy_does_now() {
    let requests = |sequence: u64, count: u64, span_ms: u64, closed_at_ms: Millis| TelemetryReport {
        sequence,
        span_ms,
        closed_at_ms,
        delta: Some(TelemetryDelta {
            requests: vec![optimizer_proto::v1::RequestSeries {
                count,
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 0);
    fleet.hello(&hello("b"), 2, 0);
    // One came a moment ago, the other after an outage of ten minutes.
    fleet.reported("a", &requests(1, 100, 10_000, 1_000_000), 1_000_000);
    fleet.reported("b", &requests(1, 6_000, 600_000, 1_000_000), 1_000_000);
    let window = fleet.recent(300_000, 1_000_000);
    let rate = fleet.requests_per_second(&Filter::default(), &window, 300_000, 1_000_000);
    assert!((rate - 20.0).abs() < 1e-9, "{rate}");
}
