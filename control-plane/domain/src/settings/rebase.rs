//! Changes that were accepted while the shared store had lost data. A replica that knows more puts its own history back; what others
//! changed meanwhile is done again on top of it, so that no change that somebody was told is in force is gone.

use super::change::Change;
use super::history::{Revision, SettingsHistory};
use crate::Millis;
use serde_json::{Map, Value};

/// Does on `kept` again what `other` has changed since both had the same revision, each change as a revision of its author. One that
/// today's rules refuse is left out. Without a common revision nothing is done: the two have nothing to do with each other.
pub fn rebase(kept: &mut SettingsHistory, other: &SettingsHistory, now_ms: Millis) {
    let has = |revision: &Revision| {
        let mut known = kept.revisions();
        known.any(|known| known.number == revision.number && known.document == revision.document)
    };
    let theirs: Vec<&Revision> = other.revisions().collect();
    let Some(common) = theirs.iter().rposition(|revision| has(revision)) else {
        return;
    };
    let since = theirs.get(common..).unwrap_or_default();
    for pair in since.windows(2) {
        let [before, after] = pair else { continue };
        let change = Change::Merge(merge_patch(&before.document, &after.document));
        let Ok(accepted) = kept.propose(&change, None, after.author.clone(), now_ms) else {
            continue;
        };
        if accepted.changed {
            kept.accept(accepted.revision);
        }
    }
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
        let mut kept = history(&[
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
        rebase(&mut kept, &other, 9);
        let present = kept.present();
        assert_eq!(present.number, 7);
        assert_eq!(
            (&present.document["cache_size"], &present.document["default_ttl"]),
            (&json!(12), &json!("7m"))
        );
        assert_eq!(present.document["breaker"]["minimum_calls"], 7);
        assert_eq!(present.document["routes"][0]["name"], "a");
        assert_eq!(present.author.who, "me");
        let mut same = kept.clone();
        rebase(&mut same, &kept, 9);
        assert_eq!(same, kept, "nothing is missing");
    }

    #[test]
    fn what_is_only_behind_adds_nothing() {
        let mut kept = history(&[json!({"cache_size": 10}), json!({"cache_size": 11})]);
        rebase(&mut kept, &history(&[json!({"cache_size": 10})]), 9);
        assert_eq!(kept.present().number, 3);
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
