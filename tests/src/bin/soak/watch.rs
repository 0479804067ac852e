//! Memory and descriptors of every process: sampled, and judged at the end.

use crate::fleet::Fleet;
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
/// What the second half may have more than the first quarter: a share, and an amount on top for what comes in large pieces.
const MEMORY_PERCENT: f64 = 10.0;
const MEMORY_MB: f64 = 8.0;
const DESCRIPTORS_PERCENT: f64 = 20.0;
const DESCRIPTORS: f64 = 24.0;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    mb: f64,
    descriptors: f64,
}

/// The samples of each process: one that was started anew has a row of its own.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Instant,
    rows: BTreeMap<(String, u32), Vec<Sample>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            rows: BTreeMap::new(),
        }
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    pub(crate) fn look(&mut self, fleet: &Fleet) {
        let at = self.began.elapsed();
        fleet.each_process(|name, process| self.note(name, process, at));
    }

    fn note(&mut self, name: &str, process: &Process, at: Duration) {
        let (Ok(mb), Ok(descriptors)) = (process.resident_mb(), process.descriptors()) else {
            return;
        };
        let sample = Sample {
            at,
            mb,
            descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX).into(),
        };
        self.rows
            .entry((name.to_owned(), process.id()))
            .or_default()
            .push(sample);
    }

    /// What every process had, first and last, and the sentences about those that grew.
    pub(crate) fn judge(&self) -> (Value, Vec<String>) {
        let mut grown = Vec::new();
        let mut rows = Vec::new();
        for ((name, id), samples) in &self.rows {
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
                "judged": judged,
            });
            if judged {
                let (early, late) = (warm.get(..warm.len() / 4), warm.get(warm.len() / 2..));
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
                    row[what]["first_quarter"] = json!(before);
                    row[what]["second_half"] = json!(after);
                    let most = before * (1.0 + percent / 100.0) + amount;
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
        watch.rows.insert(("one".to_owned(), 1), samples.collect());
        watch.judge().1
    }

    #[test]
    fn growth_is_found_and_warming_up_is_none() {
        assert!(watched(|_| 100.0).is_empty());
        assert!(watched(|number| if number < 10 { 20.0 } else { 100.0 }).is_empty());
        assert_eq!(watched(|number| 100.0 + f64::from(number)).len(), 1);
    }
}
