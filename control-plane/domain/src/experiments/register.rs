//! The experiments that are remembered: the newest.

use super::record::Experiment;
use super::words::{Because, State};
use crate::Millis;
use crate::alerts::EndedBadly;
use std::collections::BTreeMap;

/// Experiments remembered.
pub const KEPT: usize = 32;
/// For so long the end of an experiment is told that did harm.
const TOLD_FOR_MS: Millis = 86_400_000;
/// Without news for so long the control plane that judges an experiment is gone, or cut off: whoever sees the change rolls it back.
pub const LOST_AFTER_MS: Millis = 30_000;

/// Experiments by their ids, which are in the order in which they began.
#[derive(Debug, Default)]
pub struct Experiments {
    kept: BTreeMap<String, Experiment>,
}

impl Experiments {
    /// Those that were kept.
    #[must_use]
    pub fn restored(kept: Vec<Experiment>) -> Self {
        let mut all = Self::default();
        kept.into_iter().for_each(|one| all.put(one));
        all
    }

    /// Notes how one stands.
    pub fn put(&mut self, one: Experiment) {
        let one = one.bounded();
        self.kept.insert(one.id.clone(), one);
        while self.kept.len() > KEPT {
            self.kept.pop_first();
        }
    }

    /// Notes how one of another replica stands; true when that is news. What has ended does not begin again.
    pub fn observe(&mut self, one: Experiment) -> bool {
        let newer = self
            .kept
            .get(&one.id)
            .is_none_or(|known| !known.state.has_ended() && known.updated_at <= one.updated_at);
        if newer {
            self.put(one);
        }
        newer
    }

    /// All of them, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Experiment> {
        self.kept.values().rev()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Experiment> {
        self.kept.get(id)
    }

    /// The last one, where it is to be told how it ended: its change did harm, or nobody judged it any more. For a day, unless another one
    /// has begun: whoever begins one has looked at the last.
    #[must_use]
    pub fn ended_badly(&self, now_ms: Millis) -> Option<EndedBadly> {
        let last = self.newest().next()?;
        let (because, ended_ms) = (last.because?, last.ended_at?);
        let is_told = because.is_harm() || because == Because::ControlPlaneLost;
        (is_told && now_ms.saturating_sub(ended_ms) < TOLD_FOR_MS).then(|| EndedBadly {
            id: last.id.clone(),
            harmful: because.is_harm(),
            summary: last.summary.clone(),
        })
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Experiment> {
        self.kept.get_mut(id)
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
        self.kept.values().filter(|one| one.state == state).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::arms::Arms;
    use super::super::plan::{Asked, Goal, Plan};
    use super::super::record::{CHANGE, Figures, NAMED, Source, TEXT};
    use super::super::trial::Trial;
    use super::super::words::Because;
    use super::*;
    use serde_json::{Value, json};

    fn one(number: u64) -> Experiment {
        let plan = Plan::check(&Asked::default(), Goal::NoHarm, |_| None).unwrap();
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
            (KEPT, Some(&"0039"), Some(&"0008"))
        );
        let kept = all.get("0039").unwrap();
        assert_eq!((kept.reason.chars().count(), kept.by.chars().count()), (TEXT, TEXT));
        assert_eq!(kept.envoys.len(), NAMED);
        assert_ne!(kept.settings, Value::Null);
        let mut large = one(40);
        large.settings = json!({"a": "x".repeat(CHANGE)});
        all.put(large);
        assert_eq!(all.get("0040").unwrap().settings, Value::Null);
        let read = serde_json::from_value(serde_json::to_value(kept_of(&all)).unwrap()).unwrap();
        assert!(
            Experiments::restored(read).newest().eq(all.newest()),
            "as it was written"
        );
    }

    #[test]
    fn the_last_one_is_told_that_did_harm_or_was_not_judged_for_a_day() {
        const ENDED: u64 = 1_000;
        let told = |all: &Experiments, now_ms| all.ended_badly(now_ms).map(|told| (told.id, told.harmful));
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
            assert_eq!(told(&all, ENDED), None, "it is under way");
            all.get_mut("0001").unwrap().end(because, "x", ENDED);
            let expected = expected.map(|harmful| ("0001".to_owned(), harmful));
            assert_eq!(told(&all, ENDED), expected, "{because:?}");
            assert_eq!(told(&all, ENDED + TOLD_FOR_MS - 1), expected);
            assert_eq!(told(&all, ENDED + TOLD_FOR_MS), None);
            all.put(one(2));
            assert_eq!(told(&all, ENDED), None, "another one has begun");
        }
    }

    fn kept_of(all: &Experiments) -> Vec<Experiment> {
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
