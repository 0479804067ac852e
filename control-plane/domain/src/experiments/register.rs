//! The experiments that are remembered: the newest.

use super::record::Experiment;
use super::words::{Because, State};
use crate::Millis;
use crate::alerts::EndedBadly;
use std::collections::BTreeMap;

/// Experiments remembered.
pub const MAX_EXPERIMENTS: usize = 32;
/// How long the end of a harmful experiment is reported.
const REPORTED_FOR_MS: Millis = 86_400_000;
/// When the control plane that judges an experiment has not reported for this long, it is gone or cut off: any other rolls the change back.
pub const LOST_AFTER_MS: Millis = 30_000;

/// Experiments by their ids, which are in the order in which they began.
#[derive(Debug, Default)]
pub struct Experiments {
    experiments: BTreeMap<String, Experiment>,
}

impl Experiments {
    /// Those that were stored.
    #[must_use]
    pub fn restored(experiments: Vec<Experiment>) -> Self {
        let mut all = Self::default();
        experiments.into_iter().for_each(|one| all.put(one));
        all
    }

    /// Stores the state of one.
    pub fn put(&mut self, one: Experiment) {
        let one = one.bounded();
        self.experiments.insert(one.id.clone(), one);
        while self.experiments.len() > MAX_EXPERIMENTS {
            self.experiments.pop_first();
        }
    }

    /// Stores the state of one of another replica; true when that is new. What has ended does not begin again.
    pub fn observe(&mut self, one: Experiment) -> bool {
        let newer = self
            .experiments
            .get(&one.id)
            .is_none_or(|known| !known.state.has_ended() && known.updated_at <= one.updated_at);
        if newer {
            self.put(one);
        }
        newer
    }

    /// All of them, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Experiment> {
        self.experiments.values().rev()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Experiment> {
        self.experiments.get(id)
    }

    /// The last one, if its end is to be reported: its change did harm, or nobody judged it any more. For a day, unless another one
    /// has begun: whoever begins one has looked at the last.
    #[must_use]
    pub fn ended_badly(&self, now_ms: Millis) -> Option<EndedBadly> {
        let last = self.newest().next()?;
        let (because, ended_ms) = (last.because?, last.ended_at?);
        let is_reported = because.is_harm() || because == Because::ControlPlaneLost;
        (is_reported && now_ms.saturating_sub(ended_ms) < REPORTED_FOR_MS).then(|| EndedBadly {
            id: last.id.clone(),
            harmful: because.is_harm(),
            summary: last.summary.clone(),
        })
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Experiment> {
        self.experiments.get_mut(id)
    }

    /// The one under way with this revision on trial.
    #[must_use]
    pub fn trying(&self, revision: u64) -> Option<&Experiment> {
        self.newest()
            .find(|one| one.revision == revision && !one.state.has_ended())
    }

    /// How many stand so.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.experiments.values().filter(|one| one.state == state).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::arms::Arms;
    use super::super::plan::{Goal, Plan, PlanRequest};
    use super::super::record::{CHANGE, Figures, NAMED, Source, TEXT};
    use super::super::trial::Trial;
    use super::super::words::Because;
    use super::*;
    use serde_json::{Value, json};

    fn one(number: u64) -> Experiment {
        let plan = Plan::check(&PlanRequest::default(), Goal::NoHarm, |_| None).unwrap();
        let trial = Trial::begin(plan.clone(), Arms::default(), number);
        Experiment {
            id: format!("{number:04}"),
            by: "é".repeat(900),
            reason: "é".repeat(900),
            source: Source::Settings,
            settings: json!({"a": "x".repeat(100)}),
            revision: number,
            plan,
            state: State::WarmingUp,
            because: None,
            summary: String::new(),
            predicted: None,
            figures: Figures::of(&trial, (1, 1)),
            more_requests: None,
            envoys: (0..200).map(|envoy| format!("{envoy}")).collect(),
            started_at: number,
            measuring_since: None,
            updated_at: number,
            ended_at: None,
        }
    }

    #[test]
    fn the_newest_are_kept_and_no_more_of_each_than_so_much() {
        let mut all = Experiments::default();
        (0..40).for_each(|number| all.put(one(number)));
        let ids: Vec<&str> = all.newest().map(|one| one.id.as_str()).collect();
        assert_eq!(
            (ids.len(), ids.first(), ids.last()),
            (MAX_EXPERIMENTS, Some(&"0039"), Some(&"0008"))
        );
        let experiments = all.get("0039").unwrap();
        assert_eq!(
            (experiments.reason.chars().count(), experiments.by.chars().count()),
            (TEXT, TEXT)
        );
        assert_eq!(experiments.envoys.len(), NAMED);
        assert_ne!(experiments.settings, Value::Null);
        let mut large = one(40);
        large.settings = json!({"a": "x".repeat(CHANGE)});
        all.put(large);
        assert_eq!(all.get("0040").unwrap().settings, Value::Null);
        let read = serde_json::from_value(serde_json::to_value(stored_of(&all)).unwrap()).unwrap();
        assert!(
            Experiments::restored(read).newest().eq(all.newest()),
            "as it was written"
        );
    }

    #[test]
    fn the_last_one_is_told_that_did_harm_or_was_not_judged_for_a_day() {
        const ENDED: u64 = 1_000;
        let reported =
            |all: &Experiments, now_ms| all.ended_badly(now_ms).map(|reported| (reported.id, reported.harmful));
        for (because, expected) in [
            (Because::ErrorRate, Some(true)),
            (Because::P95Latency, Some(true)),
            (Because::WarmUpLatency, Some(true)),
            (Because::ControlPlaneLost, Some(false)),
            (Because::Better, None),
            (Because::NoGain, None),
            (Because::Stopped, None),
            (Because::Operator, None),
        ] {
            let mut all = Experiments::default();
            all.put(one(1));
            assert_eq!(reported(&all, ENDED), None, "it is under way");
            all.get_mut("0001").unwrap().end(because, "x", ENDED);
            let expected = expected.map(|harmful| ("0001".to_owned(), harmful));
            assert_eq!(reported(&all, ENDED), expected, "{because:?}");
            assert_eq!(reported(&all, ENDED + REPORTED_FOR_MS - 1), expected);
            assert_eq!(reported(&all, ENDED + REPORTED_FOR_MS), None);
            all.put(one(2));
            assert_eq!(reported(&all, ENDED), None, "another one has begun");
        }
    }

    fn stored_of(all: &Experiments) -> Vec<Experiment> {
        all.newest().cloned().collect()
    }

    #[test]
    fn what_has_ended_does_not_begin_again_and_what_comes_late_changes_nothing() {
        let mut all = Experiments::default();
        assert!(all.observe(one(5)));
        let mut later = one(5);
        later.updated_at = 9;
        assert!(all.observe(later.clone()) && !all.observe(one(5)));
        assert_eq!(all.trying(5).map(|one| one.updated_at), Some(9));
        later.end(Because::Stopped, "by me", 10);
        assert!(all.observe(later));
        let mut again = one(5);
        again.updated_at = 99;
        assert!(!all.observe(again));
        assert_eq!((all.trying(5), all.count(State::Stopped)), (None, 1));
    }
}
