//! What an Envoy reports that cannot be true is refused, counted and attributed, and nothing of it gets into the figures.

use super::common::{Envoy, Plane, now_ms};
use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::{CacheCounters, Outcome, RequestSeries, TelemetryDelta, TelemetryReport};

/// Ten requests of a millisecond, one of them no hit.
fn report(name: &str, sequence: u64) -> TelemetryReport {
    let mut latency_us = Sketch::new();
    (0..10).for_each(|_| latency_us.record(1_000));
    let series = RequestSeries {
        route: "default".to_owned(),
        upstream: "api".to_owned(),
        outcome: Outcome::Hit.into(),
        count: 10,
        latency_us: Some(latency_us.into()),
        ..RequestSeries::default()
    };
    let cache = CacheCounters {
        lookups: 10,
        hits: 9,
        ..CacheCounters::default()
    };
    TelemetryReport {
        sequence,
        instance_id: name.to_owned(),
        closed_at_ms: now_ms(),
        span_ms: 1_000,
        delta: Some(TelemetryDelta {
            requests: vec![series],
            cache: Some(cache),
            ..TelemetryDelta::default()
        }),
        gauges: None,
    }
}

fn changed(sequence: u64, change: impl FnOnce(&mut TelemetryReport)) -> TelemetryReport {
    let mut report = report("bad", sequence);
    change(&mut report);
    report
}

fn series(report: &mut TelemetryReport) -> &mut RequestSeries {
    &mut report.delta.as_mut().unwrap().requests[0]
}

#[tokio::test]
async fn bad_reports_are_refused_counted_and_attributed() {
    let plane = Plane::start();
    let mut good = Envoy::connect(&plane, "good").await;
    let mut bad = Envoy::connect(&plane, "bad").await;
    assert!(good.report(report("good", 1)).await);
    assert!(bad.report(report("bad", 1)).await);
    let hour_ms = 3_600_000;
    for (wrong, cause) in [
        (changed(1, |_| {}), "duplicate"),
        (changed(2, |report| report.closed_at_ms += hour_ms), "bad_time"),
        (changed(2, |report| report.span_ms = 1_000 * hour_ms), "bad_time"),
        (changed(2, |report| series(report).count = 1 << 60), "impossible_count"),
        (
            changed(2, |report| series(report).count = 1_000_000_000_000),
            "impossible_count",
        ),
        (changed(2, |report| series(report).count = 3), "impossible_count"),
        (
            changed(2, |report| {
                report.delta.as_mut().unwrap().cache.as_mut().unwrap().hits = 11
            }),
            "impossible_count",
        ),
        (
            changed(2, |report| series(report).latency_us.as_mut().unwrap().sum = u64::MAX),
            "bad_sketch",
        ),
        (
            changed(2, |report| series(report).latency_us.as_mut().unwrap().offset = -5),
            "bad_sketch",
        ),
        (
            changed(2, |report| series(report).route = "a\nb".to_owned()),
            "bad_label",
        ),
        (changed(2, |report| series(report).route = "a".repeat(300)), "bad_label"),
        (
            changed(2, |report| {
                let one = series(report).clone();
                report.delta.as_mut().unwrap().requests = vec![one; 600];
            }),
            "too_many",
        ),
        (changed(0, |_| {}), "no_sequence"),
        (changed(2, |report| report.instance_id = "good".to_owned()), "foreign"),
    ] {
        let before = faults(&plane, "bad", cause).await;
        assert!(
            bad.report(wrong).await,
            "{cause}: refused, and acknowledged all the same"
        );
        assert_eq!(faults(&plane, "bad", cause).await, before + 1, "{cause}");
    }
    let huge = changed(2, |report| series(report).route = "x".repeat(100 << 20));
    assert!(!bad.report(huge).await, "the stream ends");
    assert_eq!(faults(&plane, "bad", "too_large").await, 1);

    // Nobody else is hurt, and the offender itself goes on.
    assert!(good.report(report("good", 2)).await);
    let mut bad = Envoy::connect(&plane, "bad").await;
    assert!(bad.report(report("bad", 2)).await);
    let figures = plane.document("/metrics/performance").await;
    assert_eq!(figures["sample_count"], 40, "{figures}");
    assert_eq!(
        (figures["cache_hit_ratio"].as_f64(), figures["error_rate"].as_f64()),
        (Some(90.0), Some(0.0))
    );
    let p99 = figures["p99_latency"].as_f64().unwrap();
    assert!((0.98..1.02).contains(&p99), "{figures}");
    let fleet = plane.document("/fleet").await;
    let of = |name: &str| {
        fleet
            .as_array()
            .unwrap()
            .iter()
            .find(|envoy| envoy["envoy"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(of("good")["reports_not_merged"], serde_json::json!({}), "{fleet}");
    assert_eq!(of("bad")["last_refused_report"]["field"], "message", "{fleet}");
    let text = reqwest::get(format!("http://{}/metrics", plane.rest))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "api_optimizer_telemetry_faults_total{cause=\"impossible_count\"} 4",
        "api_optimizer_telemetry_faults_total{cause=\"too_large\"} 1",
        "api_optimizer_telemetry_reports_total{result=\"merged\"} 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    for attempt in 1.. {
        let pending = plane.document("/alerts/active?pending=true").await;
        if pending.to_string().contains("reports_refused") {
            break;
        }
        assert!(attempt < 300, "{pending}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Reports of an Envoy not merged for a cause.
async fn faults(plane: &Plane, name: &str, cause: &str) -> u64 {
    let fleet = plane.document("/fleet").await;
    let envoy = fleet
        .as_array()
        .unwrap()
        .iter()
        .find(|envoy| envoy["envoy"] == name)
        .cloned()
        .unwrap();
    envoy["reports_not_merged"][cause].as_u64().unwrap_or(0)
}
