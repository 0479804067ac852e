//! The warm-up: cold caches of any kind are no harm, and what harms is found beside them.

use super::{Random, SLOT, experiments, plan};
use crate::experiments::arms::{Arms, Sample};
use crate::experiments::plan::Goal;
use crate::experiments::trial::{Rollout, Slot, Trial, Verdict};
use crate::experiments::words::Because;

/// Slots of a warm-up.
const WARM_UP: u64 = 30;
const REQUESTS: u64 = 400;
/// Latency of what the cache answers at once, microseconds.
const AT_ONCE_US: f64 = 200.0;

/// What is asked for, and how long the origin takes.
#[derive(Clone, Copy)]
struct Traffic {
    /// Pages that can be stored, and the share of requests for them: the first are asked for more often.
    pages: u64,
    stored: f64,
    /// How long the origin takes for one of them, and for what is never stored (the mean), microseconds.
    page_us: f64,
    other_us: f64,
    /// The part of the requests that the change makes slower, and by how much.
    slowed: f64,
    by_us: f64,
}

const USUAL: Traffic = Traffic {
    pages: 300,
    stored: 0.6,
    page_us: 20_000.0,
    other_us: 20_000.0,
    slowed: 0.0,
    by_us: 0.0,
};

/// A cache, by when each page is there, microseconds.
struct Cache(Vec<Option<f64>>);

impl Cache {
    fn of(traffic: &Traffic, is_warm: bool) -> Self {
        let page = is_warm.then_some(0.0);
        Self(vec![page; usize::try_from(traffic.pages).unwrap()])
    }

    /// One slot of requests, from `begin_us` on.
    fn serve(&mut self, traffic: &Traffic, begin_us: f64, random: &mut Random) -> Sample {
        let mut sample = Sample {
            requests: REQUESTS,
            ..Sample::default()
        };
        for number in 0..REQUESTS {
            let at_us = begin_us + number as f64 * SLOT as f64 * 1_000.0 / REQUESTS as f64;
            let mut latency = if random.unit() < traffic.stored {
                sample.lookups += 1;
                let page = (random.unit() * random.unit() * traffic.pages as f64) as usize;
                match self.0[page] {
                    None => {
                        self.0[page] = Some(at_us + traffic.page_us);
                        traffic.page_us
                    }
                    // It waits for a fetch that is under way.
                    Some(there) if there > at_us => {
                        sample.hits += 1;
                        there - at_us
                    }
                    Some(_) => {
                        sample.hits += 1;
                        sample.at_once += 1;
                        AT_ONCE_US
                    }
                }
            } else {
                -random.unit().max(1e-12).ln() * traffic.other_us
            };
            if random.unit() < traffic.slowed {
                latency += traffic.by_us;
            }
            sample.latency.record(latency as u64);
        }
        sample
    }
}

/// Seconds after which the change is stopped for its latency during the warm-up; `None`: it is not. Errors there are none.
fn stopped(change: &Traffic, usual: &Traffic, is_cold: bool, random: &mut Random) -> Option<u64> {
    let (mut one, mut other) = (Cache::of(usual, true), Cache::of(usual, true));
    let mut before = Arms::default();
    for slot in 0..WARM_UP {
        let begin_us = slot as f64 * SLOT as f64 * 1_000.0;
        before.add(
            &one.serve(usual, begin_us, random),
            &other.serve(usual, begin_us, random),
        );
    }
    if is_cold {
        one = Cache::of(change, false);
    }
    let plan = crate::experiments::Plan {
        warm_up_ms: WARM_UP * SLOT,
        max_duration_ms: 2 * WARM_UP * SLOT,
        ..plan(Goal::NoHarm)
    };
    let mut trial = Trial::begin(plan, before, 0);
    assert_eq!(trial.look(&Rollout::InForce, &[], SLOT, 0), Verdict::Continue);
    for at in 0..WARM_UP {
        let begin_us = (WARM_UP + at) as f64 * SLOT as f64 * 1_000.0;
        let slot = Slot {
            from_ms: at * SLOT,
            experiment: one.serve(change, begin_us, random),
            control: other.serve(usual, begin_us, random),
        };
        match trial.look(&Rollout::InForce, &[slot], SLOT, (at + 1) * SLOT) {
            Verdict::Continue => {}
            Verdict::End(because) => {
                assert_eq!(because, Because::WarmUpLatency);
                return Some((at + 1) * SLOT / 1_000);
            }
        }
    }
    None
}

/// Percent of the experiments that are stopped; shown with the mean time.
fn rate(name: &str, change: Traffic, usual: Traffic, is_cold: bool) -> f64 {
    let (runs, mut random) = (experiments(), Random(0x2545_f491_4f6c_dd1d));
    let ends: Vec<u64> = (0..runs)
        .filter_map(|_| stopped(&change, &usual, is_cold, &mut random))
        .collect();
    let percent = ends.len() as f64 * 100.0 / f64::from(runs);
    let mean = ends.iter().sum::<u64>() as f64 / ends.len().max(1) as f64;
    println!("warm-up: {name}: stopped {percent:.1} %, after {mean:.0} s");
    percent
}

#[test]
fn cold_caches_alone_are_no_harm() {
    for (name, traffic) in [
        ("cold caches", USUAL),
        (
            "cold caches, pages take 2 s",
            Traffic {
                page_us: 2_000_000.0,
                ..USUAL
            },
        ),
        (
            "cold caches, 20,000 pages take 2 s",
            Traffic {
                pages: 20_000,
                stored: 0.95,
                page_us: 2_000_000.0,
                ..USUAL
            },
        ),
        (
            "cold caches, crowds wait 9 s for 20 pages",
            Traffic {
                pages: 20,
                page_us: 9_000_000.0,
                ..USUAL
            },
        ),
        (
            "cold caches, nearly all is stored",
            Traffic {
                stored: 0.99,
                page_us: 500_000.0,
                ..USUAL
            },
        ),
    ] {
        let stopped = rate(name, traffic, traffic, true);
        assert!(stopped <= 5.0, "{name}: {stopped} %");
    }
    let nothing = rate("nothing changes, caches are warm", USUAL, USUAL, false);
    assert!(nothing <= 5.0, "{nothing} %");
}

#[test]
fn what_is_several_times_slower_is_stopped_with_cold_caches_and_with_warm_ones() {
    let forwarded = Traffic {
        other_us: USUAL.other_us * 10.0,
        page_us: USUAL.page_us * 10.0,
        ..USUAL
    };
    let some = Traffic {
        slowed: 0.2,
        by_us: 500_000.0,
        ..USUAL
    };
    for (name, change) in [
        ("what is forwarded takes ten times as long", forwarded),
        ("a fifth of the requests take half a second longer", some),
    ] {
        for (caches, is_cold) in [("warm caches", false), ("cold caches", true)] {
            let name = format!("{name}, {caches}");
            let stopped = rate(&name, change, USUAL, is_cold);
            assert!(stopped >= 99.0, "{name}: {stopped} %");
        }
    }
}
