//! What both arms did over the same time: the Envoys that try a change, and the others, which are the control group.

use crate::telemetry::sum::Sum;
use optimizer_proto::telemetry::Sketch;

/// What one arm did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Requests.
    pub requests: u64,
    /// Those that failed or were refused.
    pub failed: u64,
    /// Lookups in the cache.
    pub lookups: u64,
    /// Lookups that the cache answered.
    pub hits: u64,
    /// Those of them that were answered from the store at once, without waiting for a fetch.
    pub at_once: u64,
    /// Client latency of all requests, microseconds.
    pub latency: Sketch,
}

impl Sample {
    /// Of what was reported.
    #[must_use]
    pub fn of(sum: &Sum) -> Self {
        Self {
            requests: sum.requests(),
            failed: sum.failed(),
            lookups: sum.cache.lookups,
            // Reports are checked one by one; a hit may be told of in the report after its lookup.
            hits: sum.cache.hits.min(sum.cache.lookups),
            at_once: sum.cache.hits.saturating_sub(sum.cache.collapsed),
            latency: sum.latency(),
        }
    }

    fn add(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.failed = self.failed.saturating_add(more.failed);
        self.lookups = self.lookups.saturating_add(more.lookups);
        self.hits = self.hits.saturating_add(more.hits);
        self.at_once = self.at_once.saturating_add(more.at_once);
        self.latency.merge(&more.latency);
    }
}

/// How much more the difference of two shares varies from slot to slot than it would if requests were independent: failures come in
/// bursts. The heterogeneity `H²` of Higgins and Thompson (2002): Cochran's Q over its degrees of freedom. What both arms have in common,
/// as an outage of the upstream, is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Dispersion {
    slots: u32,
    weight: f64,
    sum: f64,
    squares: f64,
}

impl Dispersion {
    pub(super) fn add(&mut self, (one, of_one): (u64, u64), (other, of_other): (u64, u64)) {
        if of_one == 0 || of_other == 0 {
            return;
        }
        let (one, of_one, other, of_other) = (one as f64, of_one as f64, other as f64, of_other as f64);
        let both = (one + other + 0.5) / (of_one + of_other + 1.0);
        let variance = both * (1.0 - both) * (1.0 / of_one + 1.0 / of_other);
        let difference = one / of_one - other / of_other;
        self.slots = self.slots.saturating_add(1);
        self.weight += 1.0 / variance;
        self.sum += difference / variance;
        self.squares += difference * difference / variance;
    }

    /// The design effect: each request counts for the one over it.
    pub(super) fn effect(&self) -> f64 {
        if self.slots < 2 {
            return 1.0;
        }
        let q = self.squares - self.sum * self.sum / self.weight;
        (q / f64::from(self.slots - 1)).max(1.0)
    }
}

/// Both arms, since a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arms {
    /// The Envoys that try the change.
    pub experiment: Sample,
    /// The control group.
    pub control: Sample,
    failures: Dispersion,
    hits: Dispersion,
    tail: Dispersion,
}

/// By how much counts are divided, as their slots vary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effects {
    pub(super) failures: f64,
    pub(super) hits: f64,
    pub(super) tail: f64,
}

impl Arms {
    /// Adds what both did in the same slot.
    pub fn add(&mut self, experiment: &Sample, control: &Sample) {
        self.experiment.add(experiment);
        self.control.add(control);
        self.failures.add(
            (experiment.failed, experiment.requests),
            (control.failed, control.requests),
        );
        self.hits
            .add((experiment.hits, experiment.lookups), (control.hits, control.lookups));
        let slow = slow(&self.experiment.latency, &self.control.latency);
        let above = |sample: &Sample| {
            let count = sample.latency.count();
            (count.saturating_sub(sample.latency.count_at_most(slow)), count)
        };
        self.tail.add(above(experiment), above(control));
    }

    pub(super) fn effects(&self) -> Effects {
        Effects {
            failures: self.failures.effect(),
            hits: self.hits.effect(),
            tail: self.tail.effect(),
        }
    }

    /// Each in place of the other; what varies, varies as much.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            experiment: self.control.clone(),
            control: self.experiment.clone(),
            ..self.clone()
        }
    }

    /// The smaller number of requests of the two.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.experiment.requests.min(self.control.requests)
    }
}

/// The 95th percentile of both together, microseconds.
fn slow(one: &Sketch, other: &Sketch) -> u64 {
    let mut both = one.clone();
    both.merge(other);
    both.quantile(0.95).unwrap_or(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, failed: u64) -> Sample {
        Sample {
            requests,
            failed,
            ..Sample::default()
        }
    }

    fn effect(slots: &[(u64, u64)]) -> f64 {
        let mut arms = Arms::default();
        for (one, other) in slots {
            arms.add(&sample(100, *one), &sample(100, *other));
        }
        arms.effects().failures
    }

    #[test]
    fn bursts_of_one_arm_make_a_request_count_less_and_those_of_both_do_not() {
        assert!((effect(&[]) - 1.0).abs() < 1e-9);
        assert!((effect(&[(40, 0)]) - 1.0).abs() < 1e-9, "one slot does not vary");
        assert!((effect(&[(5, 5), (6, 4), (4, 6), (5, 5)]) - 1.0).abs() < 1e-9);
        assert!(
            (effect(&[(0, 0), (60, 60), (0, 0), (60, 60)]) - 1.0).abs() < 1e-9,
            "an outage of all"
        );
        assert!(effect(&[(0, 0), (60, 0), (0, 0), (0, 60), (0, 0), (60, 0)]) > 20.0);
    }

    #[test]
    fn slots_without_one_arm_say_nothing_of_their_variation() {
        let mut arms = Arms::default();
        arms.add(&sample(100, 50), &sample(0, 0));
        arms.add(&sample(0, 0), &sample(100, 0));
        assert!((arms.effects().failures - 1.0).abs() < 1e-9);
        assert_eq!(arms.requests(), 100);
    }
}
