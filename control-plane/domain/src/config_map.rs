//! The ConfigMap's keys as a door to the settings: each key judged by itself.

use crate::change::Change;
use optimizer_proto::settings::{check_key, key_pointer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What became of the keys that changed since the last look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Intake {
    /// A change to propose, when at least one good key changed.
    pub change: Option<Change>,
    /// Keys refused just now: key and reason.
    pub refused: Vec<(String, String)>,
}

/// The keys as last seen.
#[derive(Debug, Clone, Default)]
pub struct ConfigMap {
    seen: BTreeMap<String, String>,
    refused: BTreeMap<String, String>,
}

impl ConfigMap {
    /// Compares the keys with those last seen. A key that did not change does not undo what another door has set since; a bad
    /// value leaves its setting as it is.
    pub fn look(&mut self, keys: &BTreeMap<String, String>) -> Intake {
        let mut intake = Intake::default();
        let mut operations = Vec::new();
        for (key, text) in keys {
            if self.seen.get(key) == Some(text) {
                continue;
            }
            match check_key(key, text) {
                Ok((value, _)) => {
                    self.refused.remove(key);
                    operations.push(json!({ "op": "add", "path": pointer(key), "value": value }));
                }
                Err(violations) => {
                    let reason = violations
                        .first()
                        .map_or_else(String::new, |violation| violation.message.clone());
                    self.refused.insert(key.clone(), reason.clone());
                    intake.refused.push((key.clone(), reason));
                }
            }
        }
        self.refused.retain(|key, _| keys.contains_key(key));
        self.seen.clone_from(keys);
        intake.change = (!operations.is_empty()).then_some(Change::Patch(Value::Array(operations)));
        intake
    }

    /// A look-out that has seen these keys before, so that a restart does not undo what other doors have set since.
    #[must_use]
    pub fn having_seen(seen: BTreeMap<String, String>) -> Self {
        Self {
            seen,
            refused: BTreeMap::new(),
        }
    }

    /// The keys as last seen, to be kept over a restart.
    #[must_use]
    pub fn seen(&self) -> &BTreeMap<String, String> {
        &self.seen
    }

    /// Keys whose present value is refused, with the reason.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    /// The whole change was refused for what its keys say together.
    pub fn refuse_together(&mut self, reason: &str) {
        self.refused.insert("*".to_owned(), reason.to_owned());
    }
}

fn pointer(key: &str) -> String {
    key_pointer(key).unwrap_or_else(|| format!("/{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn good_keys_pass_and_bad_ones_are_refused_alone() {
        let mut map = ConfigMap::default();
        let intake = map.look(&keys(&[
            ("cache_size", ""),
            ("default_ttl", "15m"),
            ("max_connections", "50"),
        ]));
        let Some(Change::Patch(Value::Array(operations))) = intake.change else {
            panic!()
        };
        assert_eq!(operations.len(), 2);
        assert_eq!(intake.refused[0].0, "cache_size");
        assert!(map.refused().contains_key("cache_size"));
        let intake = map.look(&keys(&[
            ("cache_size", "1200.0"),
            ("default_ttl", "15m"),
            ("max_connections", "50"),
        ]));
        assert_eq!(
            intake.change,
            Some(Change::Patch(
                json!([{"op": "add", "path": "/cache_size", "value": 1200}])
            ))
        );
        assert!(map.refused().is_empty());
    }

    #[test]
    fn what_did_not_change_is_not_looked_at_again() {
        let mut map = ConfigMap::default();
        let bad = keys(&[("cache_size", "abc")]);
        assert_eq!(map.look(&bad).refused.len(), 1);
        assert_eq!(map.look(&bad), Intake::default(), "said once");
        assert_eq!(map.refused().len(), 1, "and remembered");
        map.look(&keys(&[]));
        assert!(map.refused().is_empty());
    }
}
