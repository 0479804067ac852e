//! Changes that were accepted on one side of a divided history. The shared store has lost data, and some replicas have gone on from
//! what was left, while another still knows what was lost. One of the two histories holds; what was accepted in the other one is done
//! again on top of it, so that no change that somebody was told is in force is gone.

use super::change::Change;
use super::history::{Revision, SettingsHistory};
use crate::Millis;
use serde_json::{Map, Value};

/// What becomes of a change in the other history to a setting that the history that holds has changed as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// It is done again: it was made later.
    DoAgain,
    /// It is left out: whoever changed the setting in the history that holds did so later.
    LeaveOut,
}

/// Does on `target` again what `other` has changed since both had the same revision, each change as a revision of its author; returns
/// whether there was anything to do. A change that today's rules refuse is left out. Without a common revision nothing is done: the
/// two have nothing to do with each other.
pub fn rebase(target: &mut SettingsHistory, other: &SettingsHistory, conflict: Conflict, now_ms: Millis) -> bool {
    let ours: Vec<&Revision> = target.revisions().collect();
    let theirs: Vec<&Revision> = other.revisions().collect();
    let of_ours = |revision: &Revision| {
        let mut known = ours.iter();
        known.position(|known| known.number == revision.number && known.document == revision.document)
    };
    let mut newest_first = theirs.iter().enumerate().rev();
    let common = newest_first.find_map(|(at, revision)| Some((at, of_ours(revision)?)));
    let Some((theirs_at, ours_at)) = common else {
        return false;
    };
    let patches = |revisions: &[&Revision]| -> Vec<Value> {
        let pairs = revisions.windows(2);
        pairs
            .filter_map(|pair| match pair {
                [one, next] => Some(merge_patch(&one.document, &next.document)),
                _ => None,
            })
            .collect()
    };
    let since = theirs.get(theirs_at..).unwrap_or_default();
    let touched = match conflict {
        Conflict::DoAgain => Vec::new(),
        Conflict::LeaveOut => patches(ours.get(ours_at..).unwrap_or_default()),
    };
    let mut done = false;
    for (mut patch, revision) in patches(since).into_iter().zip(since.iter().skip(1)) {
        for other in &touched {
            leave_out(&mut patch, other);
        }
        let Ok(accepted) = target.propose(&Change::Merge(patch), None, revision.author.clone(), now_ms) else {
            continue;
        };
        if accepted.changed {
            done |= target.accept(accepted.revision);
        }
    }
    done
}

/// Takes out of a merge patch what another one changes as well.
fn leave_out(patch: &mut Value, touched: &Value) {
    let (Value::Object(patch), Value::Object(touched)) = (patch, touched) else {
        return;
    };
    patch.retain(|name, value| match touched.get(name) {
        None => true,
        Some(other) if value.is_object() && other.is_object() => {
            leave_out(value, other);
            true
        }
        Some(_) => false,
    });
}

/// The merge patch that makes `after` of `before` (RFC 7396).
fn merge_patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return after.clone();
    };
    let mut patch = Map::new();
    for (name, value) in new {
        match old.get(name) {
            Some(same) if same == value => {}
            Some(other) => drop(patch.insert(name.clone(), merge_patch(other, value))),
            None => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::history::Author;
    use optimizer_proto::settings::Settings;
    use serde_json::json;

    fn history(changes: &[Value]) -> SettingsHistory {
        let mut history = SettingsHistory::new("a".to_owned(), &Settings::default(), 0);
        for change in changes {
            let author = Author {
                who: "me".to_owned(),
                source: "rest".to_owned(),
                reason: change.to_string(),
            };
            let accepted = history
                .propose(&Change::Merge(change.clone()), None, author, 1)
                .unwrap();
            assert!(history.accept(accepted.revision));
        }
        history
    }

    #[test]
    fn what_was_changed_elsewhere_is_done_again_on_top() {
        let common = json!({"cache_size": 10});
        let mut target = history(&[
            common.clone(),
            json!({"cache_size": 11}),
            json!({"default_ttl": "7m"}),
            json!({"cache_size": 12}),
        ]);
        let other = history(&[
            common,
            json!({"breaker": {"minimum_calls": 7}}),
            json!({"routes": [{"name": "a", "path_prefix": "/a"}]}),
        ]);
        assert!(rebase(&mut target, &other, Conflict::DoAgain, 9));
        let present = target.present();
        assert_eq!(present.number, 7);
        assert_eq!(
            (&present.document["cache_size"], &present.document["default_ttl"]),
            (&json!(12), &json!("7m"))
        );
        assert_eq!(present.document["breaker"]["minimum_calls"], 7);
        assert_eq!(present.document["routes"][0]["name"], "a");
        assert_eq!(present.author.who, "me");
        let mut same = target.clone();
        assert!(!rebase(&mut same, &target, Conflict::DoAgain, 9), "nothing is missing");
        assert_eq!(same, target);
    }

    #[test]
    fn what_was_changed_on_both_sides_stays_as_the_history_that_holds_has_it() {
        let common = json!({"cache_size": 10});
        let mut target = history(&[
            common.clone(),
            json!({"cache_size": 11, "breaker": {"minimum_calls": 5}}),
            // Changed, and changed back: a decision too.
            json!({"default_ttl": "1m"}),
            json!({"default_ttl": null}),
        ]);
        let lost = history(&[
            common,
            json!({"cache_size": 12, "breaker": {"minimum_calls": 6, "probes": 7}}),
            json!({"default_ttl": "7m"}),
            json!({"routes": [{"name": "a", "path_prefix": "/a"}]}),
        ]);
        let usual = target.present().document["default_ttl"].clone();
        assert!(rebase(&mut target, &lost, Conflict::LeaveOut, 9));
        let present = target.present().document.clone();
        assert_eq!(
            (
                &present["cache_size"],
                &present["breaker"]["minimum_calls"],
                &present["default_ttl"]
            ),
            (&json!(11), &json!(5), &usual)
        );
        assert_eq!(present["breaker"]["probes"], 7);
        assert_eq!(present["routes"][0]["name"], "a");
        // Two for the two that did anything; a second replica that knows the same adds nothing.
        assert_eq!(target.present().number, 7);
        assert!(!rebase(&mut target, &lost, Conflict::LeaveOut, 9));
        assert_eq!(target.present().number, 7);
    }

    #[test]
    fn what_is_only_behind_adds_nothing() {
        let mut target = history(&[json!({"cache_size": 10}), json!({"cache_size": 11})]);
        for conflict in [Conflict::DoAgain, Conflict::LeaveOut] {
            let behind = history(&[json!({"cache_size": 10})]);
            assert!(!rebase(&mut target, &behind, conflict, 9));
            assert_eq!(target.present().number, 3);
        }
    }

    #[test]
    fn a_merge_patch_makes_one_document_of_another() {
        let before = json!({"a": {"b": 1, "c": 2}, "d": [1, 2], "e": 3});
        let after = json!({"a": {"b": 1, "c": 4, "f": 5}, "d": [2]});
        let mut made = before.clone();
        json_patch::merge(&mut made, &merge_patch(&before, &after));
        assert_eq!(made, after);
        assert_eq!(merge_patch(&before, &before), json!({}));
    }
}
