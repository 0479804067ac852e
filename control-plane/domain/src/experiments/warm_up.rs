//! Latency while caches become warm: what cold caches cannot explain is harm.
//!
//! After a change caches may be cold. Then the 95th percentile grows for a time though nothing is wrong, by as much as the origin is slower
//! than the cache; so it does not count during the warm-up. No part of the requests can be compared alone either: with cold caches other
//! requests are forwarded, which may be the slow ones, and among the hits are those that waited for a fetch.
//!
//! But a cold cache slows down a request only where a warm one would have answered it at once. How many requests the caches answer at once
//! is counted. So the requests that are answered at once, and those that are slow, are counted together: a cold cache moves some from the
//! first to the second, whichever they are and however long the origin takes for them, and the sum does not grow. Where it grows, and the slow
//! ones alone have grown as well (else the caches only answer more), something else makes requests slow.
//!
//! Slow is what takes longer than [`SEVERAL`] times what is allowed of the latency before the change. Once would do if requests did not meet;
//! but a cold cache also sends more to the origin, which makes others a little slower. Where it makes them that much slower, it is harm.

use super::arms::{Arms, Dispersion, Sample};
use super::compare::{Difference, shares};
use super::plan::Plan;
use optimizer_proto::telemetry::Sketch;

/// So many times the latency that is allowed is slow.
const SEVERAL: f64 = 3.0;
/// Percent of the requests that may be slow besides those of the control group.
const ALLOWED: f64 = 5.0;
/// Requests that tell what is usual.
const ENOUGH: u64 = 500;

/// Requests, and how many of them were slow, or were answered from the store at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    requests: u64,
    slow: u64,
    at_once: u64,
}

impl Count {
    fn of(sample: &Sample, slow_us: u64) -> Self {
        let requests = sample.latency.count();
        Self {
            requests,
            slow: requests.saturating_sub(sample.latency.count_at_most(slow_us)),
            at_once: sample.at_once,
        }
    }

    fn add(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.slow = self.slow.saturating_add(more.slow);
        self.at_once = self.at_once.saturating_add(more.at_once);
    }

    fn slow(&self) -> (u64, u64) {
        (self.slow, self.requests)
    }

    fn slow_or_at_once(&self) -> (u64, u64) {
        // Whose client reads slowly is both.
        let sum = self.slow.saturating_add(self.at_once);
        (sum.min(self.requests), self.requests)
    }
}

/// Both arms while caches become warm.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WarmUp {
    /// Latency without the change.
    usual: Sketch,
    /// What takes longer is slow, microseconds; `None` until enough is known of what is usual.
    slow_us: Option<u64>,
    experiment: Count,
    control: Count,
    slow: Dispersion,
    slow_or_at_once: Dispersion,
}

impl WarmUp {
    /// `before` is what both arms did lately without the change.
    pub(super) fn begin(before: &Arms, plan: &Plan) -> Self {
        let mut usual = before.experiment.latency.clone();
        usual.merge(&before.control.latency);
        let mut begun = Self {
            usual,
            slow_us: None,
            experiment: Count::default(),
            control: Count::default(),
            slow: Dispersion::default(),
            slow_or_at_once: Dispersion::default(),
        };
        begun.learn(plan);
        begun
    }

    /// Fixes what is slow, once and for all: a bound that moved with what is counted by it would not be one.
    fn learn(&mut self, plan: &Plan) {
        if self.slow_us.is_none() && self.usual.count() >= ENOUGH {
            let usual = self.usual.quantile(0.95).unwrap_or(0.0);
            self.slow_us = Some((plan.allowed_us(usual) * SEVERAL) as u64);
        }
    }

    /// Adds what both did in the same slot.
    pub(super) fn add(&mut self, experiment: &Sample, control: &Sample, plan: &Plan) {
        let Some(slow_us) = self.slow_us else {
            self.usual.merge(&control.latency);
            self.learn(plan);
            return;
        };
        let (one, other) = (Count::of(experiment, slow_us), Count::of(control, slow_us));
        self.slow.add(one.slow(), other.slow());
        self.slow_or_at_once.add(one.slow_or_at_once(), other.slow_or_at_once());
        self.experiment.add(one);
        self.control.add(other);
    }

    /// Points by which more requests are slow; and of them the least that cold caches cannot explain.
    fn compared(&self, plan: &Plan) -> (Difference, f64) {
        let (one, other, alpha) = (&self.experiment, &self.control, plan.alpha());
        let slow = shares(one.slow(), other.slow(), 1.0 / self.slow.effect(), alpha);
        let both = (one.slow_or_at_once(), other.slow_or_at_once());
        let sum = shares(both.0, both.1, 1.0 / self.slow_or_at_once.effect(), alpha);
        // Without harm one of the two has not grown, and says so with the confidence that is asked for.
        (slow, slow.low.min(sum.low))
    }

    /// Whether more requests are slow than is allowed, and than cold caches can explain.
    pub(super) fn harms(&self, plan: &Plan) -> bool {
        self.compared(plan).1 > ALLOWED
    }

    /// A sentence about what harms.
    pub(super) fn sentence(&self, plan: &Plan) -> String {
        let (slow, unexplained) = self.compared(plan);
        format!(
            "Rolled back during the warm-up: {:+.1} points of the requests take longer than {:.0} ms, {SEVERAL} times what is allowed; {unexplained:.1} points at least are not explained by cold caches; confidence {} %.",
            slow.seen,
            self.slow_us.unwrap_or_default() as f64 / 1_000.0,
            plan.confidence
        )
    }
}
