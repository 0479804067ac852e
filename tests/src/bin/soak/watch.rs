//! Memory and descriptors of every process: sampled, and judged at the end.

use crate::run::Run;
use e2e::process::Process;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two samples.
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// A process fills its caches and pools for so long.
const WARM_UP: Duration = Duration::from_secs(120);
/// Samples after that, without which nothing can be said.
const LEAST: usize = 24;
/// What the last quarter may have more than the second: a share, and an amount on top for what comes in large pieces. In the first quarter
/// figures of the last hour and pools of the allocator still fill.
const MEMORY_PERCENT: f64 = 10.0;
const MEMORY_MB: f64 = 8.0;
/// Redis fills up to its `maxmemory`, and keeps a little beside.
const REDIS_MB: f64 = 24.0 + 3.0;
const DESCRIPTORS_PERCENT: f64 = 20.0;
const DESCRIPTORS: f64 = 24.0;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    mb: f64,
    descriptors: f64,
}

/// The samples of each process. One that was started anew has a row of its own; so has an Envoy from its first roll-out on: it then keeps
/// what a second module takes, and further ones must add nothing.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Instant,
    rows: BTreeMap<(String, u32, bool), Vec<Sample>>,
    /// Roll-outs that there had been when a process was first seen.
    roll_outs: BTreeMap<u32, u64>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            rows: BTreeMap::new(),
            roll_outs: BTreeMap::new(),
        }
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    pub(crate) fn look(&mut self, run: &Run) {
        let (at, roll_outs) = (self.began.elapsed(), run.roll_outs());
        run.fleet.each_process(|name, process| {
            if let Ok(mb) = process.resident_mb() {
                let before = *self.roll_outs.entry(process.id()).or_insert(roll_outs);
                self.note(name, process, roll_outs > before, at, mb);
            }
        });
        if let Some(mb) = run.fleet.redis_mb()
            && let Some(process) = run.fleet.redis().process()
        {
            self.note("redis", process, false, at, mb);
        }
    }

    fn note(&mut self, name: &str, process: &Process, rolled: bool, at: Duration, mb: f64) {
        let Ok(descriptors) = process.descriptors() else {
            return;
        };
        let sample = Sample {
            at,
            mb,
            descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX).into(),
        };
        let row = (name.to_owned(), process.id(), rolled && name.starts_with("envoy"));
        self.rows.entry(row).or_default().push(sample);
    }

    /// What every process had, first and last, and the sentences about those that grew.
    pub(crate) fn judge(&self) -> (Value, Vec<String>) {
        let mut grown = Vec::new();
        let mut rows = Vec::new();
        for ((name, id, rolled), samples) in &self.rows {
            let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
                continue;
            };
            let warm: Vec<Sample> = samples
                .iter()
                .copied()
                .filter(|one| one.at >= first.at + WARM_UP)
                .collect();
            let judged = warm.len() >= LEAST;
            let mut row = json!({
                "process": name, "id": id, "samples": samples.len(), "seconds": (last.at - first.at).as_secs(),
                "memory_mb": {"first": first.mb, "last": last.mb},
                "descriptors": {"first": first.descriptors, "last": last.descriptors},
                "judged": judged, "after_a_roll_out": rolled,
                "each": samples.iter().map(|one| json!([one.at.as_secs(), one.mb.round(), one.descriptors])).collect::<Vec<_>>(),
            });
            if judged {
                let quarter = warm.len() / 4;
                let (early, late) = (warm.get(quarter..2 * quarter), warm.get(3 * quarter..));
                let (early, late) = (early.unwrap_or_default(), late.unwrap_or_default());
                let middle = |of: fn(&Sample) -> f64| (median(early, of), median(late, of));
                for (what, (before, after), percent, amount) in [
                    ("memory_mb", middle(|one| one.mb), MEMORY_PERCENT, MEMORY_MB),
                    (
                        "descriptors",
                        middle(|one| one.descriptors),
                        DESCRIPTORS_PERCENT,
                        DESCRIPTORS,
                    ),
                ] {
                    row[what]["second_quarter"] = json!(before);
                    row[what]["last_quarter"] = json!(after);
                    let bound = if name == "redis" && what == "memory_mb" {
                        REDIS_MB
                    } else {
                        0.0
                    };
                    let most = bound.max(before * (1.0 + percent / 100.0) + amount);
                    if after > most {
                        grown.push(format!(
                            "{name} ({id}): {what} grew from {before:.1} to {after:.1}, allowed {most:.1}"
                        ));
                    }
                }
            }
            rows.push(row);
        }
        (json!(rows), grown)
    }
}

fn median(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(mb: fn(u32) -> f64) -> Vec<String> {
        let samples = (0..100_u32).map(|number| Sample {
            at: EVERY * number,
            mb: mb(number),
            descriptors: 50.0,
        });
        let mut watch = Watch::new();
        watch.rows.insert(("one".to_owned(), 1, false), samples.collect());
        watch.judge().1
    }

    #[test]
    fn growth_is_found_and_warming_up_is_none() {
        assert!(watched(|_| 100.0).is_empty());
        assert!(watched(|number| if number < 10 { 20.0 } else { 100.0 }).is_empty());
        assert!(
            watched(|number| 100.0 + f64::from(number.min(40))).is_empty(),
            "it ends"
        );
        assert_eq!(watched(|number| if number < 70 { 60.0 } else { 100.0 }).len(), 1);
        assert_eq!(watched(|number| 100.0 + f64::from(number)).len(), 1);
    }
}
