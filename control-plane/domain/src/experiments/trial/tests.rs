use super::*;
use crate::experiments::plan::{Goal, PlanRequest};
use crate::experiments::words::State;
use proptest::prelude::*;

const SLOT: Millis = 10_000;

fn plan(goal: Goal) -> Plan {
    let request = PlanRequest {
        share: Some(50.0),
        warm_up: Some("20s"),
        min_duration: Some("30s"),
        max_duration: Some("300s"),
        ..PlanRequest::default()
    };
    let read = |text: &str| {
        text.strip_suffix('s')?
            .parse::<u64>()
            .ok()
            .map(|seconds| seconds * 1_000)
    };
    Plan::check(&request, goal, read).unwrap()
}

/// So many requests, percent of which failed and were hits, with this latency but for one in ten that takes four times as long.
fn sample(requests: u64, failed: u64, hits: u64, latency_us: u64) -> Sample {
    let mut latency = optimizer_proto::telemetry::Sketch::new();
    (0..requests).for_each(|at| latency.record(if at % 10 == 0 { 4 * latency_us } else { latency_us }));
    Sample {
        requests,
        failed: requests * failed / 100,
        lookups: requests,
        hits: requests * hits / 100,
        at_once: requests * hits / 100,
        latency,
    }
}

/// Leads a trial through slots that are all alike; when it ended, and why.
fn led(goal: Goal, experiment: &Sample, control: &Sample) -> (Millis, Because, Trial) {
    let mut trial = Trial::begin(plan(goal), Arms::default(), 0);
    for at in 0.. {
        let slot = Slot {
            from_ms: at * SLOT,
            experiment: experiment.clone(),
            control: control.clone(),
        };
        let now_ms = (at + 1) * SLOT;
        let verdict = trial.look(&Rollout::InForce, &[slot], SLOT, now_ms);
        if let Verdict::End(because) = verdict {
            return (now_ms, because, trial);
        }
    }
    unreachable!()
}

#[test]
fn every_end_has_its_reason_and_its_time() {
    let usual = sample(2_000, 1, 40, 5_000);
    for (goal, experiment, because, from_s, to_s) in [
        (Goal::NoHarm, sample(2_000, 1, 40, 5_000), Because::Better, 60, 100),
        (
            Goal::CacheHitRatio,
            sample(2_000, 1, 60, 5_000),
            Because::Better,
            60,
            100,
        ),
        (
            Goal::CacheHitRatio,
            sample(2_000, 1, 20, 5_000),
            Because::NoGain,
            60,
            60,
        ),
        (Goal::P95Latency, sample(2_000, 1, 40, 3_000), Because::Better, 60, 100),
        (
            Goal::P95Latency,
            sample(2_000, 1, 40, 5_000),
            Because::TimeLimit,
            300,
            300,
        ),
        // Errors count from the first whole slot on, latency with warm caches alone.
        (Goal::NoHarm, sample(2_000, 30, 40, 5_000), Because::ErrorRate, 20, 20),
        (Goal::NoHarm, sample(2_000, 1, 40, 9_000), Because::P95Latency, 40, 50),
        // But several times as much is stopped before, unless cold caches can explain it.
        (
            Goal::NoHarm,
            sample(2_000, 1, 40, 80_000),
            Because::WarmUpLatency,
            30,
            30,
        ),
        (Goal::NoHarm, sample(2_000, 1, 20, 30_000), Because::P95Latency, 40, 40),
        (
            Goal::NoHarm,
            sample(20, 1, 40, 5_000),
            Because::TooFewRequests,
            300,
            300,
        ),
        (Goal::NoHarm, Sample::default(), Because::TooFewRequests, 300, 300),
        (
            Goal::CacheHitRatio,
            sample(2_000, 1, 40, 5_000),
            Because::TimeLimit,
            300,
            300,
        ),
    ] {
        let (at_ms, ended, trial) = led(goal, &experiment, &usual);
        let text = trial.sentence(ended, trial.more_requests());
        assert_eq!(ended, because, "{goal:?} {text}");
        assert!((from_s * 1_000..=to_s * 1_000).contains(&at_ms), "{at_ms}: {text}");
        assert!(
            text.ends_with('.') && !text.contains("NaN") && !text.contains("inf"),
            "{text}"
        );
    }
}

#[test]
fn what_would_be_needed_is_about_what_is_needed() {
    let (usual, better) = (sample(100, 1, 40, 5_000), sample(100, 1, 45, 5_000));
    let (_, because, trial) = led(Goal::CacheHitRatio, &better, &usual);
    assert_eq!(because, Because::TimeLimit);
    let more = trial.more_requests().unwrap();
    let had = trial.arms().1.requests();
    // So many requests in the slots that there are.
    let slots = had / 100;
    let each = (had + more).div_ceil(slots);
    let (usual, better) = (sample(each, 1, 40, 5_000), sample(each, 1, 45, 5_000));
    assert_eq!(led(Goal::CacheHitRatio, &better, &usual).1, Because::Better, "{more}");
    let half = had + more / 4;
    let (usual, better) = (sample(half / slots, 1, 40, 5_000), sample(half / slots, 1, 45, 5_000));
    assert_eq!(
        led(Goal::CacheHitRatio, &better, &usual).1,
        Because::TimeLimit,
        "{more}"
    );
    assert_eq!(rounded_up(99), 99);
    assert_eq!(rounded_up(1_234), 1_300);
    assert_eq!(rounded_up(u64::MAX), u64::MAX);
}

#[test]
fn without_its_change_or_with_arms_that_differ_nothing_is_measured() {
    let usual = sample(2_000, 1, 40, 5_000);
    let mut trial = Trial::begin(plan(Goal::NoHarm), Arms::default(), 0);
    for at in 0..29 {
        assert_eq!(trial.look(&Rollout::Waiting, &[], SLOT, at * SLOT), Verdict::Continue);
    }
    assert_eq!(
        trial.look(&Rollout::Waiting, &[], SLOT, 300_000),
        Verdict::End(Because::NotInForce)
    );
    assert_eq!(trial.more_requests(), Some(1_000));
    let mut trial = Trial::begin(plan(Goal::NoHarm), Arms::default(), 0);
    let refused = Rollout::Refused("a".to_owned());
    assert_eq!(trial.look(&refused, &[], SLOT, 1), Verdict::End(Because::Refused));
    for other in [
        sample(2_000, 30, 40, 5_000),
        sample(2_000, 1, 40, 20_000),
        sample(2_000, 1, 90, 5_000),
    ] {
        for (one, other) in [(&usual, &other), (&other, &usual)] {
            let mut before = Arms::default();
            before.add(one, other);
            let mut trial = Trial::begin(plan(Goal::CacheHitRatio), before, 0);
            let verdict = trial.look(&Rollout::Waiting, &[], SLOT, 1);
            assert_eq!(verdict, Verdict::End(Because::ArmsDiffer));
        }
    }
    let mut alike = Arms::default();
    alike.add(&usual, &usual);
    let mut trial = Trial::begin(plan(Goal::CacheHitRatio), alike, 0);
    assert_eq!(trial.look(&Rollout::Waiting, &[], SLOT, 1), Verdict::Continue);
}

fn samples() -> impl Strategy<Value = Sample> {
    (0..400_u64, 0..=100_u64, 0..=100_u64, 0..50_000_u64)
        .prop_map(|(requests, failed, hits, latency_us)| sample(requests, failed, hits, latency_us))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the arms do and however the time goes, an experiment ends by its time limit, and is promoted only when it was long
    /// enough, had enough requests and is not worse as far as is seen.
    #[test]
    fn an_experiment_ends_and_promotes_only_what_is_not_worse(
        slots in prop::collection::vec((samples(), samples()), 1..40),
        goal in prop::sample::select(vec![Goal::NoHarm, Goal::CacheHitRatio, Goal::P95Latency]),
        waits in 0..8_u64,
    ) {
        let plan = plan(goal);
        let mut trial = Trial::begin(plan.clone(), Arms::default(), 0);
        let mut ended = None;
        for (at, (experiment, control)) in slots.into_iter().enumerate() {
            let at = at as u64;
            let slot = Slot { from_ms: at * SLOT, experiment, control };
            let rollout = if at < waits { Rollout::Waiting } else { Rollout::InForce };
            let now_ms = (at + 1) * SLOT;
            if let Verdict::End(because) = trial.look(&rollout, &[slot], SLOT, now_ms) {
                ended = Some((because, now_ms));
                break;
            }
            prop_assert!(now_ms < plan.max_duration_ms, "it goes on");
        }
        let (all, warm) = trial.arms();
        prop_assert!(all.requests() >= warm.requests());
        if let Some((because, now_ms)) = ended.filter(|(because, _)| because.state() == State::Promoted) {
            prop_assert!(now_ms >= 60_000 && warm.requests() >= 1_000, "{because:?} at {now_ms}");
            let seen = trial.comparison();
            prop_assert!(seen.error_rate.seen <= plan.max_error_rate_increase);
            let slower = warm.experiment.latency.quantile(0.95).unwrap_or(0.0);
            let usual = warm.control.latency.quantile(0.95).unwrap_or(0.0);
            prop_assert!(slower <= (usual * 1.2).max(usual + 1_000.0) * 1.03, "{slower} {usual}");
        }
    }

    #[test]
    fn an_interval_holds_what_is_seen(one in samples(), other in samples()) {
        let mut arms = Arms::default();
        arms.add(&one, &other);
        let seen = Comparison::of(&arms, &arms, &plan(Goal::NoHarm), 1.0);
        for figure in [seen.error_rate, seen.hit_ratio] {
            prop_assert!(figure.low <= figure.seen + 1e-6 && figure.seen <= figure.high + 1e-6, "{figure:?}");
            prop_assert!(figure.low >= -100.0 - 1e-6 && figure.high <= 100.0 + 1e-6, "{figure:?}");
        }
        prop_assert!(seen.p95_latency.low <= seen.p95_latency.high, "{:?}", seen.p95_latency);
    }
}
