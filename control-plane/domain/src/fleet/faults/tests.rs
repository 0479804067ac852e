use super::*;
use crate::telemetry::envoy_stats::Statistics;
use optimizer_proto::v1::{Hello, RequestSeries, TelemetryDelta, TelemetryReport};

const STOP: &str = "overload.envoy.overload_actions.stop_accepting_requests.active";

#[derive(Default)]
struct Fixture {
    stats: EnvoyStats,
    fleet: Fleet,
    xds: BTreeMap<String, Millis>,
    shared: bool,
    sequence: u64,
}

impl Fixture {
    /// Statistics of an Envoy that is not draining.
    fn statistics(&mut self, of: &[(&str, u64)], now_ms: Millis) {
        let mut statistics = Statistics::default();
        for (name, value) in of.iter().chain(&[("server.live", 1)]) {
            statistics.take(name, *value);
        }
        self.stats.report("a", statistics, now_ms);
    }

    fn hello(&mut self, now_ms: Millis) {
        let hello = Hello {
            node_id: "a".to_owned(),
            instance_id: "a-1".to_owned(),
            ..Hello::default()
        };
        self.fleet.hello(&hello, 1, now_ms);
    }

    fn report(&mut self, requests: u64, now_ms: Millis) {
        self.sequence += 1;
        let series = RequestSeries {
            count: requests,
            ..RequestSeries::default()
        };
        let report = TelemetryReport {
            sequence: self.sequence,
            closed_at_ms: now_ms,
            span_ms: 1_000,
            delta: Some(TelemetryDelta {
                requests: vec![series],
                ..TelemetryDelta::default()
            }),
            ..TelemetryReport::default()
        };
        self.fleet.reported("a-1", &report, now_ms);
    }

    fn faults(&self, now_ms: Millis) -> Vec<(Kind, bool)> {
        let observed = Observed {
            stats: &self.stats,
            fleet: &self.fleet,
            xds: &self.xds,
            shared: self.shared,
            minimum_samples: 100,
            error_percent: 5.0,
        };
        let faults = observed.faults(|_| true, now_ms);
        faults.into_iter().map(|fault| (fault.kind, fault.is_severe)).collect()
    }
}

#[test]
fn an_overloaded_envoy_is_told_until_it_has_recovered_or_is_gone() {
    let mut fixture = Fixture::default();
    fixture.hello(0);
    fixture.report(0, 1_000);
    for (statistics, found) in [
        (vec![], vec![]),
        (
            vec![("overload.envoy.overload_actions.shrink_heap.active", 1)],
            vec![(Kind::Overload, false)],
        ),
        (vec![(STOP, 1)], vec![(Kind::Overload, true)]),
        (
            vec![("listener.0.0.0.0_1.downstream_global_cx_overflow", 3)],
            vec![(Kind::Overload, true)],
        ),
    ] {
        fixture.statistics(&statistics, 1_000);
        assert_eq!(fixture.faults(1_000), found, "{statistics:?}");
    }
    fixture.statistics(&[], 70_000);
    fixture.report(0, 70_000);
    assert!(
        fixture.faults(70_000).is_empty(),
        "the connections were refused more than a minute ago"
    );
    fixture.statistics(&[(STOP, 1)], 71_000);
    fixture.fleet.gone("a-1", 1);
    assert!(fixture.faults(90_000).is_empty(), "it is gone as a whole");
}

#[test]
fn a_filter_is_missing_where_its_envoy_goes_on_without_it() {
    let mut fixture = Fixture::default();
    fixture.statistics(&[], 1_000);
    fixture.statistics(&[], 11_000);
    assert!(fixture.faults(11_000).is_empty(), "it may still come");
    fixture.statistics(&[], 11_001);
    assert_eq!(fixture.faults(11_001), [(Kind::FilterMissing, false)]);
    fixture.hello(12_000);
    fixture.report(0, 12_000);
    assert!(fixture.faults(12_000).is_empty());
    // It goes, and Envoy with it: what came at last is no sign that it went on.
    fixture.statistics(&[], 13_000);
    fixture.fleet.gone("a-1", 1);
    assert!(fixture.faults(26_000).is_empty());
    // An Envoy that takes its configuration by xDS is there as long as its stream is.
    fixture.xds.insert("a".to_owned(), 20_000);
    assert_eq!(fixture.faults(26_000), [(Kind::FilterMissing, false)]);
    fixture.xds.insert("a".to_owned(), 0);
    fixture.hello(27_000);
    assert!(fixture.faults(27_000).is_empty());
}

#[test]
fn a_draining_envoy_lacks_no_filter() {
    let mut fixture = Fixture::default();
    fixture.hello(0);
    fixture.report(0, 0);
    fixture.fleet.gone("a-1", 1);
    for now_ms in [1_000, 12_000] {
        let mut statistics = Statistics::default();
        statistics.take("server.live", 0);
        fixture.stats.report("a", statistics, now_ms);
    }
    assert!(fixture.faults(12_000).is_empty());
}

#[test]
fn figures_that_do_not_come_any_more_are_told_while_their_envoy_is_there() {
    let mut fixture = Fixture::default();
    fixture.hello(0);
    fixture.statistics(&[], 0);
    assert!(fixture.faults(10_000).is_empty());
    assert_eq!(
        fixture.faults(10_001),
        [(Kind::FiguresMissing, false)],
        "no report came"
    );
    fixture.report(0, 11_000);
    assert!(fixture.faults(14_999).is_empty());
    fixture.report(0, 15_000);
    assert_eq!(
        fixture.faults(15_000),
        [(Kind::FiguresMissing, false)],
        "no statistics came"
    );
    fixture.shared = true;
    assert!(fixture.faults(15_000).is_empty(), "another replica may have got them");
    fixture.shared = false;
    fixture.fleet.gone("a-1", 1);
    assert!(fixture.faults(15_000).is_empty());
}

#[test]
fn errors_count_that_the_filter_has_not_seen() {
    for (responses, errors, seen, severe) in [
        (1_000, 1_000, 0, true),
        (1_000, 60, 940, true),
        (1_000, 50, 950, false),
        (1_000, 1_000, 1_000, false),
        (99, 99, 0, false),
        // Internal redirects are requests of their own to the filter.
        (1_000, 100, 2_000, false),
    ] {
        let mut fixture = Fixture::default();
        fixture.hello(0);
        fixture.statistics(&[], 1_000);
        let now = [
            ("http.ingress.downstream_rq_completed", responses),
            ("http.ingress.downstream_rq_5xx", errors),
        ];
        fixture.statistics(&now, 2_000);
        fixture.report(seen, 2_000);
        let expected = if severe {
            vec![(Kind::UnseenErrors, true)]
        } else {
            vec![]
        };
        assert_eq!(fixture.faults(2_000), expected, "{responses} {errors} {seen}");
    }
}

#[test]
fn configuration_that_was_refused_is_told_by_name() {
    let mut fixture = Fixture::default();
    fixture.hello(0);
    fixture.report(0, 1_000);
    let name = "extension_config_discovery.http_filter.optimizer.update_rejected";
    fixture.statistics(&[(name, 1)], 1_000);
    assert_eq!(fixture.faults(1_000), [(Kind::Configuration, false)]);
}
