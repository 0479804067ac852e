//! What replicas of the control plane agree on: the one document all of them go by, and which of two is to hold when what was
//! shared has lost something.

use crate::Millis;
use crate::settings::canary::{Canary, EXPERIMENT};
use crate::settings::history::{Author, Revision, SettingsHistory};
use crate::settings::rebase::{Conflict, rebase};
use std::collections::BTreeMap;

/// The settings as replicas share them: written as a whole, in place of the one it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedState {
    /// The settings and their history.
    pub history: SettingsHistory,
    /// A revision on trial.
    pub canary: Option<Canary>,
    /// The ConfigMap's keys as last seen.
    pub seen: BTreeMap<String, String>,
}

impl SharedState {
    /// What an experiment tries gives way to an operator's revision, which is numbered above it: the Envoys that try it take nothing else.
    /// An operator's canary stays, and the revision is what it was.
    #[must_use]
    pub fn give_way_to(&mut self, mut revision: Revision, now_ms: Millis) -> Revision {
        if let Some(tried) = self.canary.take_if(|canary| canary.is_experiment()) {
            let author = Author {
                who: revision.author.who.clone(),
                source: EXPERIMENT.to_owned(),
                reason: format!("revision {} given up for another change", tried.revision.number),
            };
            self.history.reissue(tried.revision.number, author, now_ms);
            revision.number = self.history.present().number + 1;
        }
        revision
    }
}

/// Which of two histories holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The shared one.
    Theirs,
    /// The shared one, issued again above both: some Envoys run on another document of the same number.
    TheirsAnew,
    /// Our own, because the shared one has lost revisions that were accepted.
    Ours,
}

/// Compares what a replica knows with what is shared. A change is shared before it comes into force, so the shared one is behind only
/// after the store has lost data. Of two histories that have nothing in common the shared one holds, for all replicas alike,
/// unless nobody has ever changed anything in it.
#[must_use]
pub fn judge(ours: &SettingsHistory, theirs: &SettingsHistory) -> Verdict {
    if ours.epoch() != theirs.epoch() {
        return if theirs.is_untouched() && !ours.is_untouched() {
            Verdict::Ours
        } else {
            Verdict::Theirs
        };
    }
    let (own, shared) = (ours.present(), theirs.present());
    match own.number.cmp(&shared.number) {
        std::cmp::Ordering::Greater => Verdict::Ours,
        std::cmp::Ordering::Equal if own.document != shared.document => Verdict::TheirsAnew,
        _ => Verdict::Theirs,
    }
}

/// What a replica does after it has read what is shared.
#[derive(Debug, Clone, PartialEq)]
pub enum Reconciled {
    /// The shared state comes into force here.
    Adopt(SharedState),
    /// This state is put in place of the shared one, and then comes into force here.
    PutBack(SharedState),
}

/// What comes of a replica's own state and the shared one; `None`: nothing is shared. What was accepted in the one that does not hold
/// is done again on top, unless a revision is on trial in the other: that has the next number.
#[must_use]
pub fn reconcile(ours: SharedState, theirs: Option<SharedState>, now_ms: Millis) -> Reconciled {
    let Some(mut theirs) = theirs else {
        return Reconciled::PutBack(ours);
    };
    let is_divided = ours.history.epoch() == theirs.history.epoch();
    let do_again = |kept: &mut SharedState, other: &SharedState, conflict| {
        is_divided && kept.canary.is_none() && rebase(&mut kept.history, &other.history, conflict, now_ms)
    };
    match judge(&ours.history, &theirs.history) {
        Verdict::Theirs if do_again(&mut theirs, &ours, Conflict::LeaveOut) => Reconciled::PutBack(theirs),
        Verdict::Theirs => Reconciled::Adopt(theirs),
        Verdict::TheirsAnew => {
            let author = Author {
                who: String::new(),
                source: "recovery".to_owned(),
                reason: "two documents had this number".to_owned(),
            };
            theirs.history.reissue(0, author, now_ms);
            do_again(&mut theirs, &ours, Conflict::LeaveOut);
            Reconciled::PutBack(theirs)
        }
        Verdict::Ours => {
            let mut ours = ours;
            do_again(&mut ours, &theirs, Conflict::DoAgain);
            Reconciled::PutBack(ours)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::change::Change;
    use crate::settings::history::Author;
    use optimizer_proto::settings::Settings;
    use serde_json::json;

    fn history(epoch: &str, sizes: &[u64]) -> SettingsHistory {
        let mut history = SettingsHistory::new(epoch.to_owned(), &Settings::default(), 0);
        for size in sizes {
            let change = Change::Merge(json!({ "cache_size": size }));
            let author = Author {
                source: "rest".to_owned(),
                ..Author::default()
            };
            let accepted = history.propose(&change, None, author, 1).unwrap();
            assert!(history.accept(accepted.revision));
        }
        history
    }

    #[test]
    fn what_was_accepted_holds_and_else_what_is_shared() {
        for (ours, theirs, verdict) in [
            (history("a", &[5]), history("a", &[5]), Verdict::Theirs),
            (history("a", &[5]), history("a", &[5, 6]), Verdict::Theirs),
            (history("a", &[5, 6]), history("a", &[5]), Verdict::Ours),
            (history("a", &[5]), history("a", &[6]), Verdict::TheirsAnew),
            (history("a", &[]), history("b", &[]), Verdict::Theirs),
            (history("a", &[]), history("b", &[6]), Verdict::Theirs),
            (history("a", &[5]), history("b", &[]), Verdict::Ours),
            (history("a", &[5, 6]), history("b", &[6]), Verdict::Theirs),
        ] {
            assert_eq!(judge(&ours, &theirs), verdict, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn an_experiment_gives_way_and_an_operators_canary_does_not() {
        for (source, numbers) in [("rest", (2, 1)), (EXPERIMENT, (4, 3))] {
            let history = history("a", &[]);
            let revision = |source: &str| {
                let author = Author {
                    source: source.to_owned(),
                    ..Author::default()
                };
                let change = Change::Merge(json!({ "cache_size": 7 }));
                history.propose(&change, None, author, 1).unwrap().revision
            };
            let mut state = SharedState {
                history: history.clone(),
                canary: Canary::pick(revision(source), 50, vec!["a".to_owned()]),
                seen: BTreeMap::new(),
            };
            let own = state.give_way_to(revision("rest"), 9);
            assert_eq!((own.number, state.history.present().number), numbers, "{source}");
            assert_eq!(state.canary.is_some(), source == "rest");
            assert_eq!(state.history.accept(own), source != "rest" || numbers.0 == 2);
        }
    }

    #[test]
    fn two_documents_of_one_number_give_way_to_a_third() {
        let shared = |history: &SettingsHistory| SharedState {
            history: history.clone(),
            canary: None,
            seen: BTreeMap::new(),
        };
        let (ours, theirs) = (history("a", &[5]), history("a", &[6]));
        let Reconciled::PutBack(new) = reconcile(shared(&ours), Some(shared(&theirs)), 9) else {
            panic!("the shared one as it is");
        };
        let present = new.history.present();
        assert_eq!(present.number, theirs.present().number + 1);
        assert_eq!(present.document, theirs.present().document);
        assert_eq!(reconcile(shared(&ours), None, 9), Reconciled::PutBack(shared(&ours)));
        let newer = shared(&history("a", &[5, 6]));
        assert_eq!(
            reconcile(shared(&ours), Some(newer.clone()), 9),
            Reconciled::Adopt(newer)
        );
    }

    #[test]
    fn a_history_is_extended_without_gaps_of_order() {
        let (short, long) = (history("a", &[5]), history("a", &[5, 6, 7]));
        let newer: Vec<_> = long.revisions().skip(2).cloned().collect();
        assert_eq!(short.extended(newer.clone()), Some(long.clone()));
        assert_eq!(long.extended(newer), None, "not newer");
    }
}
