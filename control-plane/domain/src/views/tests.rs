//! The views on made-up fleets.

use super::*;
use crate::fleet::Fleet;
use crate::telemetry::envoy_stats::EnvoyStats;
use optimizer_proto::v1::{
    BreakerGauge, CacheCounters, FilterGauges, Hello, RequestSeries, TelemetryDelta, TelemetryReport,
};
use serde_json::{Value, json};

/// As answered.
fn json(view: impl Serialize) -> Value {
    serde_json::to_value(view).unwrap()
}

#[test]
fn numbers_are_what_bc_can_read() {
    for (value, text) in [
        (0.000_01, "0"),
        (12.0, "12"),
        (1.234_56, "1.2346"),
        (f64::NAN, "0"),
        (f64::INFINITY, "0"),
        (-0.0, "0"),
        (99.999_99, "100"),
    ] {
        assert_eq!(number(value).to_string(), text);
    }
}

#[test]
fn without_traffic_every_field_is_there() {
    let view = json(performance(
        &Fleet::default(),
        &EnvoyStats::default(),
        &Filter::default(),
        DEFAULT_WINDOW_MS,
        0,
        1,
    ));
    for (field, value) in [
        ("p95_latency", json!(0)),
        ("error_rate", json!(0)),
        ("cache_hit_ratio", json!(100)),
        ("requests_per_second", json!(0)),
    ] {
        assert_eq!(view[field], value, "{field}");
    }
    assert_eq!(view["circuit_breaker_state"], "closed");
    assert!(!view.as_object().unwrap().values().any(Value::is_null));
}

#[test]
fn the_figures_are_those_of_the_fleet() {
    let mut fleet = Fleet::default();
    for (name, state, latency) in [("a", "closed", 1_000_u64), ("b", "half_open", 3_000)] {
        fleet.hello(
            &Hello {
                instance_id: name.to_owned(),
                ..Default::default()
            },
            1,
            1_000,
        );
        let mut sketch = Sketch::new();
        (0..50).for_each(|_| sketch.record(latency));
        let series = |outcome: Outcome| RequestSeries {
            outcome: outcome as i32,
            count: 50,
            latency_us: Some(sketch.clone().into()),
            ..Default::default()
        };
        let delta = TelemetryDelta {
            requests: vec![series(Outcome::Hit), series(Outcome::Error)],
            cache: Some(CacheCounters {
                lookups: 100,
                hits: 50,
                evictions: 30,
                ..Default::default()
            }),
            ..Default::default()
        };
        let breaker = BreakerGauge {
            upstream: "api".to_owned(),
            state: state.to_owned(),
            failures: 2,
            ..Default::default()
        };
        let gauges = FilterGauges {
            cache_entries: 3,
            cache_bytes: 2_500_000,
            breakers: vec![breaker],
            ..Default::default()
        };
        let report = TelemetryReport {
            sequence: 1,
            delta: Some(delta),
            gauges: Some(gauges),
            ..Default::default()
        };
        fleet.reported(name, &report, 1_000);
    }
    let view = json(performance(
        &fleet,
        &EnvoyStats::default(),
        &Filter::default(),
        60_000,
        9_000_000,
        2_000,
    ));
    assert_eq!(
        (&view["error_rate"], &view["cache_hit_ratio"]),
        (&json!(50), &json!(50))
    );
    assert_eq!(
        (&view["cache_memory_usage"], &view["eviction_rate"]),
        (&json!(5), &json!(60)),
        "known for a second"
    );
    assert_eq!(
        (
            &view["outcomes"]["hit"],
            &view["sample_count_hit"],
            &view["sample_count"]
        ),
        (&json!(100), &json!(100), &json!(200))
    );
    assert_eq!(view["circuit_breaker_state"], "half_open");
    let p95 = view["p95_latency"].as_f64().unwrap();
    assert!((2.9..3.1).contains(&p95), "{p95}");
    let status = json(crate::breakers::status::breaker_status(
        &fleet,
        &crate::breakers::overrides::BreakerOverrides::default(),
        2_000,
    ));
    assert_eq!(
        (&status["failure_count"], &status["envoys_in_state"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(cache(&fleet, &Filter::default(), "5m", 60_000, 2_000).size, 6);
}

/// Every field of a document, with those of its objects.
fn leaves(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(fields) => fields.values().flat_map(leaves).collect(),
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        leaf => vec![leaf],
    }
}

#[test]
fn nothing_is_null_or_in_exponent_form_whatever_is_asked_for() {
    let (fleet, stats) = (Fleet::default(), EnvoyStats::default());
    let some = |name: &str| Some(name.to_owned());
    for filter in [
        Filter::default(),
        Filter {
            envoy: some("a"),
            route: some("b"),
            upstream: some("c"),
        },
    ] {
        for view in [
            json(performance(&fleet, &stats, &filter, 60_000, 1, 1)),
            json(errors(&fleet, &filter, 60_000, 1)),
            json(system(&System::default(), &fleet, &stats, &filter, 20, 1)),
            json(cache(&fleet, &filter, "5m", 60_000, 1)),
            json(invalidation(&fleet, &filter, 60_000, 1)),
        ] {
            assert!(leaves(&view).into_iter().all(|leaf| !leaf.is_null()), "{view}");
            let exponent = |leaf: &Value| leaf.is_number() && leaf.to_string().contains('e');
            assert!(!leaves(&view).into_iter().any(exponent), "{view}");
            assert_eq!(
                view["filter"].as_object().unwrap().len(),
                if filter.is_whole() { 0 } else { 3 }
            );
        }
    }
}

#[test]
fn an_idle_cache_tells_the_hit_ratio_of_its_last_traffic() {
    let mut fleet = Fleet::default();
    let hello = Hello {
        instance_id: "a".to_owned(),
        ..Default::default()
    };
    fleet.hello(&hello, 1, 0);
    let mut tell = |sequence: u64, lookups: u64, hits: u64, now_ms: u64| {
        let cache = CacheCounters {
            lookups,
            hits,
            ..Default::default()
        };
        let delta = TelemetryDelta {
            cache: Some(cache),
            ..Default::default()
        };
        let report = TelemetryReport {
            sequence,
            closed_at_ms: now_ms,
            delta: Some(delta),
            ..Default::default()
        };
        fleet.reported("a", &report, now_ms);
        let ratio = |now_ms| {
            json(performance(&fleet, &EnvoyStats::default(), &Filter::default(), 60_000, 1, now_ms).cache_hit_ratio)
        };
        (ratio(now_ms), ratio(now_ms + 1_000_000))
    };
    assert_eq!(tell(1, 10, 9, 100_000), (json!(90), json!(90)));
    assert_eq!(
        tell(2, 10, 1, 900_000),
        (json!(10), json!(10)),
        "the last window with lookups, not all time"
    );
    assert_eq!(
        tell(3, 0, 0, 9_000_000),
        (json!(10), json!(10)),
        "also when it is no longer kept"
    );
}
