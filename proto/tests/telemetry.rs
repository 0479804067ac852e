//! What holds for sketches, deltas and reports, whatever is recorded or received.

use optimizer_proto::telemetry::delta::{self, MAX_BREAKER_EVENTS, MAX_ERRORS, MAX_REASONS, MAX_SERIES, OTHER};
use optimizer_proto::telemetry::{MAX_VALUE, ReportFault, Sketch, SketchFault, check_delta, check_report};
use optimizer_proto::v1;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

fn sketch_of(values: &[u64]) -> Sketch {
    let mut sketch = Sketch::new();
    values.iter().for_each(|value| sketch.record(*value));
    sketch
}

/// Values of every magnitude, small ones as likely as large ones.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 12 => (0_u32..40, any::<u64>()).prop_map(|(bits, noise)| (1 << bits) | (noise & ((1 << bits) - 1)))]
}

fn exact_quantile(sorted: &[u64], q: f64) -> f64 {
    let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1] as f64
}

fn series() -> impl Strategy<Value = v1::RequestSeries> {
    let labels = ("[a-c]", "[a-b]", 0..8_i32, prop::sample::select(vec![10_u32, 11, 20]));
    (labels, vec(value(), 0..10), 0_u64..1_000).prop_map(|((route, upstream, outcome, protocol), values, more)| {
        v1::RequestSeries {
            route,
            upstream,
            outcome,
            protocol,
            count: values.len() as u64 + more,
            latency_us: Some(sketch_of(&values).into()),
            response_bytes: more * 7,
            upstream_requests: more,
            upstream_reused: more / 2,
        }
    })
}

prop_compose! {
    fn delta_of()(
        requests in vec(series(), 0..12),
        errors in vec(("[a-c]", "[a-b]", 0_u64..9), 0..6),
        reasons in vec(("[a-d]", 0_u64..9), 0..6),
        events in vec(("[a-b]", 0_u64..5), 0..4),
        cache in prop::option::of((5_u64..9, 0_u64..5)),
        overhead in vec(value(), 0..9),
    ) -> v1::TelemetryDelta {
        let raw = v1::TelemetryDelta {
            requests,
            errors: errors.into_iter().map(|(kind, upstream, count)| v1::ErrorCount { kind, upstream, count }).collect(),
            cache: cache.map(|(lookups, hits)| v1::CacheCounters { lookups, hits, ..Default::default() }),
            breaker_events: events
                .into_iter()
                .map(|(upstream, at_ms)| v1::BreakerEvent { upstream, at_ms, ..Default::default() })
                .collect(),
            reasons: reasons.into_iter().map(|(code, count)| v1::ReasonCount { code, count }).collect(),
            overhead_ns: (!overhead.is_empty()).then(|| sketch_of(&overhead).into()),
            ..Default::default()
        };
        sum([&raw])
    }
}

fn sum<'d>(deltas: impl IntoIterator<Item = &'d v1::TelemetryDelta>) -> v1::TelemetryDelta {
    let mut total = v1::TelemetryDelta::default();
    deltas.into_iter().for_each(|delta| delta::merge(&mut total, delta));
    total
}

fn report(delta: v1::TelemetryDelta) -> v1::TelemetryReport {
    v1::TelemetryReport {
        sequence: 1,
        instance_id: "i-1".into(),
        closed_at_ms: 1_000_000,
        span_ms: 1_000,
        delta: Some(delta),
        gauges: None,
    }
}

proptest! {
    #[test]
    fn merged_quantiles_are_within_one_percent(parts in vec(vec(value(), 0..200), 1..8), q in 0.0..=1.0_f64) {
        let mut merged = Sketch::new();
        parts.iter().for_each(|part| merged.merge(&sketch_of(part)));
        let mut all = parts.concat();
        all.sort_unstable();
        prop_assert_eq!(merged.count(), all.len() as u64);
        prop_assert_eq!(merged.sum(), all.iter().sum::<u64>());
        prop_assert_eq!(merged.min(), all.first().copied());
        prop_assert_eq!(merged.max(), all.last().copied());
        for q in [q, 0.0, 0.5, 0.9, 0.95, 0.99, 1.0] {
            match merged.quantile(q) {
                None => prop_assert!(all.is_empty()),
                Some(read) => {
                    let exact = exact_quantile(&all, q);
                    prop_assert!((read - exact).abs() <= 0.01 * exact, "q {q}: {read} for {exact}");
                }
            }
        }
    }

    #[test]
    fn sketches_merge_in_any_order(a in vec(value(), 0..50), b in vec(value(), 0..50), c in vec(value(), 0..50)) {
        let [a, b, c] = [a, b, c].map(|values| sketch_of(&values));
        let merged = |left: &Sketch, right: &Sketch| { let mut left = left.clone(); left.merge(right); left };
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &Sketch::new()), a);
    }

    #[test]
    fn a_sketch_survives_the_wire(values in vec(prop_oneof![value(), any::<u64>()], 0..100)) {
        let sketch = sketch_of(&values);
        let bytes = v1::Sketch::from(sketch.clone()).encode_to_vec();
        prop_assert_eq!(Sketch::try_from(v1::Sketch::decode(bytes.as_slice()).unwrap()), Ok(sketch));
    }

    #[test]
    fn a_hostile_sketch_is_refused_or_sound(
        zero_count in any::<u64>(), offset in prop_oneof![any::<i32>(), 0..1_400], counts in vec(any::<u32>(), 0..1_500),
        sum in any::<u64>(), min in any::<u64>(), max in any::<u64>(),
    ) {
        if let Ok(sketch) = Sketch::try_from(v1::Sketch { zero_count, offset, counts, sum, min, max }) {
            let mut twice = sketch.clone();
            twice.merge(&sketch);
            prop_assert!(twice.quantile(0.5).is_some_and(f64::is_finite) || twice.is_empty());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = v1::ControlMessage::decode(bytes.as_slice());
        let _ = v1::FilterMessage::decode(bytes.as_slice());
        if let Ok(report) = v1::TelemetryReport::decode(bytes.as_slice()) {
            let _ = check_report(&report, 0);
        }
        if let Ok(delta) = v1::TelemetryDelta::decode(bytes.as_slice()) {
            let _ = sum([&delta, &delta]);
        }
    }

    #[test]
    fn deltas_merge_in_any_order(a in delta_of(), b in delta_of(), c in delta_of()) {
        prop_assert_eq!(sum([&a, &b, &c]), sum([&c, &a, &b]));
        prop_assert_eq!(sum([&sum([&a, &b]), &c]), sum([&a, &sum([&b, &c])]));
        prop_assert_eq!(check_delta(&sum([&a, &b, &c])), Ok(()));
        prop_assert_eq!(check_report(&report(a), 1_000_000), Ok(()));
    }

    #[test]
    fn taking_in_parts_loses_nothing(whole in delta_of(), max_bytes in 0_usize..2_000) {
        let mut pending = whole.clone();
        let mut parts = Vec::new();
        while !delta::is_empty(&pending) {
            parts.push(delta::take_bounded(&mut pending, max_bytes));
            prop_assert!(parts.len() <= whole.requests.len() + 1);
        }
        prop_assert!(parts.iter().all(|part| part.encoded_len() <= max_bytes || part.requests.len() <= 1));
        prop_assert_eq!(sum(&parts), sum([&whole]));
    }
}

#[test]
fn sixty_four_workers_are_within_one_percent() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut all = Vec::new();
    let mut merged = Sketch::new();
    for worker in 0..64_u64 {
        let values: Vec<u64> = (0..4_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // A fast bulk and a tail, differing by worker.
                let tail = if state.is_multiple_of(50) { 100 } else { 1 };
                (200 + worker * 10 + state % 900) * tail
            })
            .collect();
        merged.merge(&sketch_of(&values));
        all.extend(values);
    }
    all.sort_unstable();
    for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
        let (read, exact) = (merged.quantile(q).unwrap(), exact_quantile(&all, q));
        assert!((read - exact).abs() <= 0.01 * exact, "q {q}: {read} for {exact}");
    }
}

#[test]
fn cardinality_is_bounded_and_nothing_is_lost() {
    let mut total = v1::TelemetryDelta::default();
    for index in 0..5_000 {
        let delta = v1::TelemetryDelta {
            requests: vec![v1::RequestSeries {
                route: format!("r{index}"),
                upstream: format!("u{index}"),
                outcome: index % 9,
                protocol: index as u32 % 40,
                count: 1,
                ..Default::default()
            }],
            errors: vec![v1::ErrorCount {
                kind: format!("k{index}"),
                upstream: String::new(),
                count: 1,
            }],
            reasons: vec![v1::ReasonCount {
                code: format!("c{index}"),
                count: 1,
            }],
            breaker_events: vec![v1::BreakerEvent {
                at_ms: index as u64,
                ..Default::default()
            }],
            ..Default::default()
        };
        delta::merge(&mut total, &delta);
    }
    assert!(total.requests.len() <= MAX_SERIES && total.requests.len() > 440);
    assert_eq!((total.errors.len(), total.reasons.len()), (MAX_ERRORS, MAX_REASONS));
    assert_eq!(total.breaker_events.len(), MAX_BREAKER_EVENTS);
    assert_eq!(total.breaker_events.last().map(|event| event.at_ms), Some(4_999));
    assert_eq!(total.requests.iter().map(|series| series.count).sum::<u64>(), 5_000);
    assert_eq!(total.errors.iter().map(|error| error.count).sum::<u64>(), 5_000);
    assert_eq!(total.reasons.iter().map(|reason| reason.count).sum::<u64>(), 5_000);
    assert!(
        total
            .requests
            .iter()
            .any(|series| series.route == OTHER && series.upstream == OTHER)
    );
    assert_eq!(check_delta(&total), Ok(()));
}

#[test]
fn sums_saturate() {
    let huge = v1::TelemetryDelta {
        reasons: vec![v1::ReasonCount {
            code: "c".into(),
            count: u64::MAX,
        }],
        cache: Some(v1::CacheCounters {
            lookups: u64::MAX,
            ..Default::default()
        }),
        ..Default::default()
    };
    let total = sum([&huge, &huge]);
    assert_eq!(total, huge);
}

#[test]
fn a_value_beyond_every_clock_counts_as_the_largest() {
    let sketch = sketch_of(&[u64::MAX, 5]);
    assert_eq!(sketch.max(), Some(MAX_VALUE));
    assert!(Sketch::try_from(v1::Sketch::from(sketch)).is_ok());
}

#[test]
fn impossible_sketches_are_named() {
    let sound: v1::Sketch = sketch_of(&[10, 20, 30]).into();
    let cases = [
        (
            v1::Sketch {
                offset: -1,
                ..sound.clone()
            },
            SketchFault::BinsOutOfRange,
        ),
        (
            v1::Sketch {
                offset: 1_399,
                ..sound.clone()
            },
            SketchFault::BinsOutOfRange,
        ),
        (
            v1::Sketch {
                counts: vec![1; 1_401],
                offset: 0,
                ..sound.clone()
            },
            SketchFault::BinsOutOfRange,
        ),
        (
            v1::Sketch {
                min: 5,
                ..sound.clone()
            },
            SketchFault::ExtremesContradictBins,
        ),
        (
            v1::Sketch {
                max: u64::MAX,
                ..sound.clone()
            },
            SketchFault::ExtremesContradictBins,
        ),
        (
            v1::Sketch {
                sum: 0,
                ..sound.clone()
            },
            SketchFault::SumContradictsBins,
        ),
        (
            v1::Sketch {
                sum: 1_000,
                ..sound.clone()
            },
            SketchFault::SumContradictsBins,
        ),
        (
            v1::Sketch {
                sum: 1,
                ..Default::default()
            },
            SketchFault::NotEmpty,
        ),
    ];
    for (message, fault) in cases {
        assert_eq!(Sketch::try_from(message.clone()), Err(fault), "{message:?}");
    }
}

#[test]
fn impossible_reports_are_refused_with_the_field() {
    let series = v1::RequestSeries {
        route: "a".into(),
        count: 1,
        ..Default::default()
    };
    let with = |series: v1::RequestSeries| {
        report(v1::TelemetryDelta {
            requests: vec![series],
            ..Default::default()
        })
    };
    let sound = with(series.clone());
    assert_eq!(check_report(&sound, 1_000_000), Ok(()));
    let bad_sketch = v1::Sketch {
        sum: 1,
        ..Default::default()
    };
    let two = sketch_of(&[1, 2]).into();
    let cases = [
        (
            v1::TelemetryReport {
                sequence: 0,
                ..sound.clone()
            },
            "sequence",
            "no_sequence",
        ),
        (
            v1::TelemetryReport {
                instance_id: String::new(),
                ..sound.clone()
            },
            "instance_id",
            "bad_label",
        ),
        (
            v1::TelemetryReport {
                closed_at_ms: 1_300_001,
                ..sound.clone()
            },
            "closed_at_ms",
            "bad_time",
        ),
        (
            v1::TelemetryReport {
                span_ms: u64::MAX,
                ..sound.clone()
            },
            "span_ms",
            "bad_time",
        ),
        (
            with(v1::RequestSeries {
                count: u64::MAX,
                ..series.clone()
            }),
            "delta.requests[0].count",
            "impossible_count",
        ),
        (
            with(v1::RequestSeries {
                latency_us: Some(two),
                ..series.clone()
            }),
            "delta.requests[0].count",
            "impossible_count",
        ),
        (
            with(v1::RequestSeries {
                latency_us: Some(bad_sketch),
                ..series.clone()
            }),
            "delta.requests[0].latency_us",
            "bad_sketch",
        ),
        (
            with(v1::RequestSeries {
                upstream_reused: 1,
                ..series.clone()
            }),
            "delta.requests[0].upstream_requests",
            "impossible_count",
        ),
        (
            with(v1::RequestSeries {
                route: "x".repeat(257),
                ..series.clone()
            }),
            "delta.requests[0].route",
            "bad_label",
        ),
        (
            with(v1::RequestSeries {
                upstream: "a\nb".into(),
                ..series.clone()
            }),
            "delta.requests[0].route",
            "bad_label",
        ),
        (
            report(v1::TelemetryDelta {
                requests: vec![series; MAX_SERIES + 1],
                ..Default::default()
            }),
            "delta.requests",
            "too_many",
        ),
        (
            report(v1::TelemetryDelta {
                cache: Some(v1::CacheCounters {
                    hits: 1,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            "delta.cache",
            "impossible_count",
        ),
    ];
    for (message, field, fault) in cases {
        let refused = check_report(&message, 1_000_000).expect_err(field);
        assert_eq!((refused.field.as_str(), refused.fault.as_str()), (field, fault));
    }
    assert_eq!(ReportFault::BadSketch(SketchFault::NotEmpty).as_str(), "bad_sketch");
}
