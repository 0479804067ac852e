//! What replicas of the control plane agree on: the one document all of them go by, and which of two is to hold when what was
//! shared has lost something.

use crate::Millis;
use crate::settings::canary::Canary;
use crate::settings::history::{Author, SettingsHistory};
use crate::settings::rebase::rebase;
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

/// What comes of a replica's own state and the shared one; `None`: nothing is shared.
#[must_use]
pub fn reconcile(ours: SharedState, theirs: Option<SharedState>, now_ms: Millis) -> Reconciled {
    let Some(mut theirs) = theirs else {
        return Reconciled::PutBack(ours);
    };
    match judge(&ours.history, &theirs.history) {
        Verdict::Theirs => Reconciled::Adopt(theirs),
        Verdict::TheirsAnew => {
            let author = Author {
                who: String::new(),
                source: "recovery".to_owned(),
                reason: "two documents had this number".to_owned(),
            };
            theirs.history.reissue(0, author, now_ms);
            Reconciled::PutBack(theirs)
        }
        Verdict::Ours => {
            let mut ours = ours;
            // A revision on trial has the next number.
            if ours.canary.is_none() && ours.history.epoch() == theirs.history.epoch() {
                rebase(&mut ours.history, &theirs.history, now_ms);
            }
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

    fn book(epoch: &str, sizes: &[u64]) -> SettingsHistory {
        let mut book = SettingsHistory::new(epoch.to_owned(), &Settings::default(), 0);
        for size in sizes {
            let change = Change::Merge(json!({ "cache_size": size }));
            let author = Author {
                source: "rest".to_owned(),
                ..Author::default()
            };
            let accepted = book.propose(&change, None, author, 1).unwrap();
            assert!(book.accept(accepted.revision));
        }
        book
    }

    #[test]
    fn what_was_accepted_holds_and_else_what_is_shared() {
        for (ours, theirs, verdict) in [
            (book("a", &[5]), book("a", &[5]), Verdict::Theirs),
            (book("a", &[5]), book("a", &[5, 6]), Verdict::Theirs),
            (book("a", &[5, 6]), book("a", &[5]), Verdict::Ours),
            (book("a", &[5]), book("a", &[6]), Verdict::TheirsAnew),
            (book("a", &[]), book("b", &[]), Verdict::Theirs),
            (book("a", &[]), book("b", &[6]), Verdict::Theirs),
            (book("a", &[5]), book("b", &[]), Verdict::Ours),
            (book("a", &[5, 6]), book("b", &[6]), Verdict::Theirs),
        ] {
            assert_eq!(judge(&ours, &theirs), verdict, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn two_documents_of_one_number_give_way_to_a_third() {
        let shared = |history: &SettingsHistory| SharedState {
            history: history.clone(),
            canary: None,
            seen: BTreeMap::new(),
        };
        let (ours, theirs) = (book("a", &[5]), book("a", &[6]));
        let Reconciled::PutBack(new) = reconcile(shared(&ours), Some(shared(&theirs)), 9) else {
            panic!("the shared one as it is");
        };
        let present = new.history.present();
        assert_eq!(present.number, theirs.present().number + 1);
        assert_eq!(present.document, theirs.present().document);
        assert_eq!(reconcile(shared(&ours), None, 9), Reconciled::PutBack(shared(&ours)));
        let newer = shared(&book("a", &[5, 6]));
        assert_eq!(
            reconcile(shared(&ours), Some(newer.clone()), 9),
            Reconciled::Adopt(newer)
        );
    }

    #[test]
    fn a_history_is_extended_without_gaps_of_order() {
        let (short, long) = (book("a", &[5]), book("a", &[5, 6, 7]));
        let newer: Vec<_> = long.revisions().skip(2).cloned().collect();
        assert_eq!(short.extended(newer.clone()), Some(long.clone()));
        assert_eq!(long.extended(newer), None, "not newer");
    }
}
