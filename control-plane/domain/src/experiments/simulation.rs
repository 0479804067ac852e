//! How often a finding is wrong: experiments simulated from seeds, looked at in every slot of time. `SIMULATED_EXPERIMENTS=2000` runs more of
//! them than a test has time for, and `--nocapture` shows the rates that the documents state.

mod cold;

use super::arms::{Arms, Sample};
use super::plan::{Goal, Plan, PlanRequest};
use super::trial::{Rollout, Slot, Trial, Verdict};
use super::words::Because;
use std::collections::BTreeMap;

const SLOT: u64 = 10_000;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What an arm is like.
#[derive(Clone, Copy)]
struct Traffic {
    /// Requests in a slot.
    requests: u64,
    /// Share that fails.
    failed: f64,
    /// Share of hits.
    hits: f64,
    /// Mean of a miss's latency, microseconds, exponentially distributed.
    miss_us: f64,
    /// Failures come so many at a time.
    burst: u64,
}

const USUAL: Traffic = Traffic {
    requests: 400,
    failed: 0.01,
    hits: 0.6,
    miss_us: 20_000.0,
    burst: 1,
};

fn sample(traffic: &Traffic, random: &mut Random) -> Sample {
    let mut sample = Sample {
        requests: traffic.requests,
        lookups: traffic.requests,
        ..Sample::default()
    };
    let mut failing = 0;
    for _ in 0..traffic.requests {
        if random.unit() < traffic.failed / traffic.burst as f64 {
            failing = traffic.burst;
        }
        if failing > 0 {
            failing -= 1;
            sample.failed += 1;
        }
        let hit = random.unit() < traffic.hits;
        sample.hits += u64::from(hit);
        sample.at_once += u64::from(hit);
        let latency = -random.unit().max(1e-12).ln() * traffic.miss_us;
        sample.latency.record(if hit { 200 } else { latency as u64 });
    }
    sample
}

fn plan(goal: Goal) -> Plan {
    let request = PlanRequest {
        warm_up: Some("0s"),
        min_duration: Some("60s"),
        max_duration: Some("400s"),
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

fn run(goal: Goal, experiment: &Traffic, control: &Traffic, random: &mut Random) -> (Because, u64) {
    let mut trial = Trial::begin(plan(goal), Arms::default(), 0);
    assert_eq!(trial.look(&Rollout::InForce, &[], SLOT, 0), Verdict::Continue);
    for at in 0.. {
        let slot = Slot {
            from_ms: at * SLOT,
            experiment: sample(experiment, random),
            control: sample(control, random),
        };
        if let Verdict::End(because) = trial.look(&Rollout::InForce, &[slot], SLOT, (at + 1) * SLOT) {
            return (because, at + 1);
        }
    }
    unreachable!()
}

fn experiments() -> u32 {
    let request = std::env::var("SIMULATED_EXPERIMENTS").ok();
    request.and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// How often experiments end for what, percent; shown with the mean number of slots that they took.
fn rates(name: &str, goal: Goal, experiment: Traffic, control: Traffic) -> BTreeMap<String, f64> {
    let (runs, mut random) = (experiments(), Random(88_172_645_463_325_252));
    let mut ends: BTreeMap<String, (u32, u64)> = BTreeMap::new();
    for _ in 0..runs {
        let (because, slots) = run(goal, &experiment, &control, &mut random);
        let end = ends.entry(format!("{because:?}")).or_default();
        end.0 += 1;
        end.1 += slots;
    }
    for (because, (count, slots)) in &ends {
        let percent = f64::from(*count) * 100.0 / f64::from(runs);
        let mean = *slots as f64 * 10.0 / f64::from(*count);
        println!("{name}: {because} {percent:.1} %, after {mean:.0} s");
    }
    let shares = ends.into_iter();
    shares
        .map(|(because, (count, _))| (because, f64::from(count) * 100.0 / f64::from(runs)))
        .collect()
}

fn of(rates: &BTreeMap<String, f64>, names: &[&str]) -> f64 {
    names.iter().filter_map(|name| rates.get(*name)).sum()
}

const HARMED: [&str; 2] = ["ErrorRate", "P95Latency"];

#[test]
fn a_change_that_does_nothing_is_not_taken_for_harm_nor_for_a_gain() {
    let alike = rates("nothing changes", Goal::CacheHitRatio, USUAL, USUAL);
    assert!(
        of(&alike, &HARMED) <= 5.0 && of(&alike, &["Better"]) <= 5.0,
        "{alike:?}"
    );
    let bursts = Traffic { burst: 20, ..USUAL };
    let alike = rates(
        "nothing changes, failures in bursts of 20",
        Goal::NoHarm,
        bursts,
        bursts,
    );
    assert!(of(&alike, &HARMED) <= 5.0, "{alike:?}");
}

#[test]
fn a_change_that_harms_as_much_as_is_just_not_allowed_is_not_promoted() {
    let failing = Traffic {
        failed: 0.02001,
        ..USUAL
    };
    let promoted = rates("one point of errors more", Goal::NoHarm, failing, USUAL);
    assert!(of(&promoted, &["Better"]) <= 5.0, "{promoted:?}");
    let slow = Traffic {
        miss_us: USUAL.miss_us * 1.2001,
        ..USUAL
    };
    let promoted = rates("20 % of latency more", Goal::NoHarm, slow, USUAL);
    assert!(of(&promoted, &["Better"]) <= 5.0, "{promoted:?}");
}

#[test]
fn what_harms_is_rolled_back_and_what_helps_is_promoted() {
    let failing = Traffic { failed: 0.06, ..USUAL };
    let harmed = rates("five points of errors more", Goal::NoHarm, failing, USUAL);
    assert!(of(&harmed, &["ErrorRate"]) >= 99.0, "{harmed:?}");
    let slow = Traffic {
        miss_us: USUAL.miss_us * 2.0,
        ..USUAL
    };
    let harmed = rates("twice the latency", Goal::NoHarm, slow, USUAL);
    assert!(of(&harmed, &["P95Latency"]) >= 99.0, "{harmed:?}");
    let better = Traffic { hits: 0.7, ..USUAL };
    let helped = rates("ten points of hits more", Goal::CacheHitRatio, better, USUAL);
    assert!(of(&helped, &["Better"]) >= 95.0, "{helped:?}");
}
