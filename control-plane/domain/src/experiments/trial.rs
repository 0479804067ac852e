//! The state machine of an experiment: from what both arms did and the time to going on, promoting or rolling back. No clock, no socket.

use super::arms::{Arms, Sample};
use super::compare::{Answer, Comparison};
use super::plan::Plan;
use super::warm_up::WarmUp;
use super::words::Because;
use crate::Millis;

/// How far the change has come on the Envoys that try it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// Some of them do not run on it yet.
    Waiting,
    /// All of them run on it.
    InForce,
    /// This one refuses it.
    Refused(String),
}

/// What both arms did in one slot of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its beginning.
    pub from_ms: Millis,
    /// The Envoys that try the change.
    pub experiment: Sample,
    /// The control group.
    pub control: Sample,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It ends; [`Because::state`] tells how.
    End(Because),
}

/// An experiment under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    plan: Plan,
    began_ms: Millis,
    in_force_ms: Option<Millis>,
    /// Before the change, until it was looked at.
    before: Option<Arms>,
    /// Since the change is in force.
    all: Arms,
    /// While they become warm.
    warm_up: WarmUp,
    /// Since caches are warm.
    warm: Arms,
    /// How long was measured with warm caches.
    measured_ms: Millis,
}

impl Trial {
    /// Begins one; `before` is what both arms did lately without the change.
    #[must_use]
    pub fn begin(plan: Plan, before: Arms, now_ms: Millis) -> Self {
        Self {
            warm_up: WarmUp::begin(&before, &plan),
            plan,
            began_ms: now_ms,
            in_force_ms: None,
            before: Some(before),
            all: Arms::default(),
            warm: Arms::default(),
            measured_ms: 0,
        }
    }

    /// Since when latency and hits count; `None` before the change is in force.
    #[must_use]
    pub fn measures_since(&self) -> Option<Millis> {
        let in_force = self.in_force_ms?;
        Some(in_force.saturating_add(self.plan.warm_up_ms))
    }

    /// What both arms did since the change is in force, and since caches are warm.
    #[must_use]
    pub fn arms(&self) -> (&Arms, &Arms) {
        (&self.all, &self.warm)
    }

    /// Both arms compared as they stand.
    #[must_use]
    pub fn comparison(&self) -> Comparison {
        Comparison::of(&self.all, &self.warm, &self.plan, 1.0)
    }

    /// Takes in slots of time, the oldest first, each of them once, of `slot_ms` each, and decides.
    pub fn look(&mut self, rollout: &Rollout, slots: &[Slot], slot_ms: Millis, now_ms: Millis) -> Verdict {
        let is_late = now_ms.saturating_sub(self.began_ms) >= self.plan.max_duration_ms;
        if self.before.take().is_some_and(|before| differ(&before, &self.plan)) {
            return Verdict::End(Because::ArmsDiffer);
        }
        match rollout {
            Rollout::Refused(_) => return Verdict::End(Because::Refused),
            Rollout::InForce if self.in_force_ms.is_none() => self.in_force_ms = Some(now_ms),
            _ => {}
        }
        let (Some(in_force), Some(warm)) = (self.in_force_ms, self.measures_since()) else {
            return if is_late {
                Verdict::End(Because::NotInForce)
            } else {
                Verdict::Continue
            };
        };
        for slot in slots.iter().filter(|slot| slot.from_ms >= in_force) {
            self.all.add(&slot.experiment, &slot.control);
            if slot.from_ms >= warm {
                self.warm.add(&slot.experiment, &slot.control);
                self.measured_ms = self.measured_ms.saturating_add(slot_ms);
            } else {
                self.warm_up.add(&slot.experiment, &slot.control, &self.plan);
            }
        }
        // Between two slots nothing has changed but the time.
        let found = if slots.is_empty() { None } else { self.finding() };
        match found {
            Some(because) => Verdict::End(because),
            None if is_late => Verdict::End(self.too_late()),
            None => Verdict::Continue,
        }
    }

    fn finding(&self) -> Option<Because> {
        let comparison = self.comparison();
        // From then on the figure itself counts.
        let warms_up = self.measured_ms == 0;
        let slow = warms_up && self.warm_up.harms(&self.plan);
        let slow = slow.then_some(Because::WarmUpLatency);
        self.harm(&comparison).or(slow).or_else(|| {
            let enough = self.measured_ms >= self.plan.min_duration_ms && !self.has_too_few();
            enough.then(|| self.end_of(&comparison)).flatten()
        })
    }

    fn harm(&self, comparison: &Comparison) -> Option<Because> {
        if comparison.harms_errors(&self.plan) == Answer::Yes {
            Some(Because::ErrorRate)
        } else if comparison.harms_latency() == Answer::Yes {
            Some(Because::P95Latency)
        } else {
            None
        }
    }

    /// What is known when nothing harms.
    fn end_of(&self, comparison: &Comparison) -> Option<Because> {
        let reached = comparison.reaches(&self.plan);
        let harmless = comparison.harms_errors(&self.plan) == Answer::No && comparison.harms_latency() == Answer::No;
        match reached {
            Answer::No => Some(Because::NoGain),
            Answer::Yes if harmless => Some(Because::Better),
            _ => None,
        }
    }

    fn has_too_few(&self) -> bool {
        (self.warm.requests() as f64) < self.plan.min_requests
    }

    fn too_late(&self) -> Because {
        if self.has_too_few() {
            Because::TooFewRequests
        } else {
            Because::TimeLimit
        }
    }

    /// A sentence about its end, with the figures. `more_requests`: what [`Trial::more_requests`] says of one that is inconclusive.
    #[must_use]
    pub fn sentence(&self, because: Because, more_requests: Option<u64>) -> String {
        match because {
            Because::WarmUpLatency => self.warm_up.sentence(&self.plan),
            other => other.sentence(&self.plan, &self.comparison(), more_requests),
        }
    }

    /// How many requests more each arm would need, if it went on as it did; `None` where no number would do, or nothing is known.
    #[must_use]
    pub fn more_requests(&self) -> Option<u64> {
        let had = self.warm.requests();
        if had == 0 {
            return Some(self.plan.min_requests as u64);
        }
        let least = self.plan.min_requests / had as f64;
        let factor = std::iter::successors(Some(least.max(1.0)), |factor| Some(factor * 1.25))
            .take_while(|factor| *factor <= MOST_FACTOR * least.max(1.0))
            .find(|factor| {
                let comparison = Comparison::of(&self.all, &self.warm, &self.plan, *factor);
                self.harm(&comparison).or_else(|| self.end_of(&comparison)).is_some()
            })?;
        let more = ((factor - 1.0) * had as f64).ceil() as u64;
        Some(rounded_up(more.max(1)))
    }
}

/// Whether both arms differ by more than is allowed, in either direction.
fn differ(arms: &Arms, plan: &Plan) -> bool {
    let differs = |arms: &Arms| Comparison::of(arms, arms, plan, 1.0).differs(plan);
    differs(arms) || differs(&arms.mirrored())
}

/// Nobody waits for a thousand times the requests.
const MOST_FACTOR: f64 = 1_000.0;

/// Two digits and zeros: it is a guess.
fn rounded_up(count: u64) -> u64 {
    let mut unit = 1_u64;
    while count / unit >= 100 {
        unit = unit.saturating_mul(10);
    }
    count.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests;
