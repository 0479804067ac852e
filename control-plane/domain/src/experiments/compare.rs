//! Both arms compared: three figures, each with an interval that holds at all times.

use super::arms::{Arms, Sample};
use super::mixture::{Rank, Region, Share};
use super::plan::{Goal, Plan};
use crate::telemetry::figure::percent;
use optimizer_proto::telemetry::Sketch;

/// Relative error of what is read from a sketch.
const SKETCH_ERROR: f64 = 0.01;

/// A figure of the experiment's arm beside that of the control group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// As seen.
    pub seen: f64,
    /// The least that it can be.
    pub low: f64,
    /// The greatest that it can be; infinite where nothing is known.
    pub high: f64,
}

/// What comes of comparing both arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Error rate: points more.
    pub error_rate: Difference,
    /// 95th percentile of the latency: percent more.
    pub p95_latency: Difference,
    /// Hit ratio: points more.
    pub hit_ratio: Difference,
    /// Latency beyond what is allowed, microseconds: from, to.
    excess_us: (f64, f64),
}

/// What a figure says about the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Open,
}

/// Points by which the first share is greater than the other.
pub(super) fn shares((k, n): (u64, u64), (other_k, other_n): (u64, u64), weight: f64, alpha: f64) -> Difference {
    let share = |k: u64, n: u64| Share {
        k: k as f64 * weight,
        n: n as f64 * weight,
    };
    let region = Region::of(&share(k, n), &share(other_k, other_n), alpha);
    let (low, high) = region.range(|one, other| (one - other) * 100.0);
    Difference {
        seen: percent(k, n) - percent(other_k, other_n),
        low,
        high,
    }
}

/// The values of ranks from and to, as far as the sketch can tell.
fn values(sketch: &Sketch, (low, high): (f64, f64)) -> (f64, f64) {
    let value = |rank: f64| sketch.quantile(rank).unwrap_or(0.0);
    let high = if high > 1.0 { f64::INFINITY } else { value(high) };
    (value(low) * (1.0 - SKETCH_ERROR), high * (1.0 + SKETCH_ERROR))
}

impl Comparison {
    /// Compares error rates over `all` of the time, latencies and hits over the time when caches were `warm`. With a `weight` above 1 as
    /// it would be with so many times the requests.
    #[must_use]
    pub fn of(all: &Arms, warm: &Arms, plan: &Plan, weight: f64) -> Self {
        let alpha = plan.alpha();
        let (failures, effects) = (all.effects().failures, warm.effects());
        let failed = |sample: &Sample| (sample.failed, sample.requests);
        let hits = |sample: &Sample| (sample.hits, sample.lookups);
        let (one, other) = (&warm.experiment.latency, &warm.control.latency);
        let rank = |sketch: &Sketch| Rank::of(sketch.count() as f64 * weight / effects.tail);
        let ranks = Region::of(&rank(one), &rank(other), alpha);
        let region = ranks.mapped(|at| values(one, at), |at| values(other, at));
        let p95 = |sketch: &Sketch| sketch.quantile(0.95).unwrap_or(0.0);
        let change = |one: f64, other: f64| match other {
            // Of no latency at all nothing is a share.
            other if other <= 0.0 => f64::INFINITY,
            other if other.is_infinite() => -100.0,
            other => (one / other - 1.0) * 100.0,
        };
        let excess = |one: f64, other: f64| match one {
            one if one.is_infinite() => f64::INFINITY,
            one => one - plan.allowed_us(other),
        };
        let (low, high) = region.range(change);
        Self {
            error_rate: shares(failed(&all.experiment), failed(&all.control), weight / failures, alpha),
            p95_latency: Difference {
                seen: change(p95(one), p95(other)),
                low,
                high,
            },
            hit_ratio: shares(
                hits(&warm.experiment),
                hits(&warm.control),
                weight / effects.hits,
                alpha,
            ),
            excess_us: region.range(excess),
        }
    }

    /// Whether the error rate is worse by more than is allowed.
    pub(super) fn harms_errors(&self, plan: &Plan) -> Answer {
        answer(
            (self.error_rate.low, self.error_rate.high),
            plan.max_error_rate_increase,
        )
    }

    /// Whether the latency is.
    pub(super) fn harms_latency(&self) -> Answer {
        answer(self.excess_us, 0.0)
    }

    /// Whether the goal is reached.
    pub(super) fn reaches(&self, plan: &Plan) -> Answer {
        match plan.goal {
            Goal::NoHarm => Answer::Yes,
            Goal::CacheHitRatio => answer((self.hit_ratio.low, self.hit_ratio.high), plan.min_gain),
            Goal::P95Latency => answer((-self.p95_latency.high, -self.p95_latency.low), plan.min_gain),
        }
    }

    /// Whether the first arm differs from the other by more than is allowed: error rate and hits in either direction, latency upwards.
    pub(super) fn differs(&self, plan: &Plan) -> bool {
        let beyond = |one: &Difference, allowed: f64| one.low > allowed || one.high < -allowed;
        beyond(&self.error_rate, plan.max_error_rate_increase)
            || self.harms_latency() == Answer::Yes
            || (plan.goal == Goal::CacheHitRatio && beyond(&self.hit_ratio, HITS_ALIKE))
    }
}

/// Points of the hit ratio by which arms that are alike may differ before the change.
const HITS_ALIKE: f64 = 5.0;

fn answer((low, high): (f64, f64), limit: f64) -> Answer {
    if low > limit {
        Answer::Yes
    } else if high <= limit {
        Answer::No
    } else {
        Answer::Open
    }
}
