//! The ConfigMap's keys as a source of settings: each key judged by itself.

use crate::settings::capacity::Machine;
use crate::settings::change::Change;
use crate::settings::unique_names::repeated;
use optimizer_proto::settings::{Settings, Violation, check_key, key_pointer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What became of the keys that changed since the last look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Intake {
    /// A change to propose, when at least one good key changed.
    pub change: Option<Change>,
    /// Keys refused just now: key and reason.
    pub refused: Vec<(String, String)>,
    /// Values that were adjusted: key and how.
    pub notices: Vec<(String, String)>,
}

/// The keys as last seen.
#[derive(Debug, Clone, Default)]
pub struct ConfigMap {
    seen: BTreeMap<String, String>,
    refused: BTreeMap<String, String>,
    adjusted: BTreeMap<String, String>,
    refusals: u64,
}

/// Good keys and what they set: key, canonical value.
type Candidates = BTreeMap<String, Value>;

impl ConfigMap {
    /// Compares the keys with those last seen. A key that did not change does not undo what another source has set since; a bad
    /// value leaves its setting as it is, as does one that contradicts the others or `present`, the settings in force.
    ///
    /// A refused key has never been in force, so it is tried again with whatever changes next.
    pub fn look(&mut self, keys: &BTreeMap<String, String>, present: &Value, machine: Machine) -> Intake {
        let mut intake = Intake::default();
        if self.seen == *keys {
            return intake;
        }
        let before = std::mem::take(&mut self.refused);
        self.adjusted.retain(|key, _| keys.contains_key(key));
        let mut candidates = Candidates::new();
        for (key, text) in keys {
            let changed = self.seen.get(key) != Some(text);
            if !changed && !before.contains_key(key) {
                continue;
            }
            self.adjusted.remove(key);
            let judged = match repeated(text) {
                Some(reason) => Err(reason),
                None => check_key(key, text).map_err(|violations| joined(&violations)),
            };
            match judged {
                Ok((value, notices)) => {
                    for notice in notices {
                        self.adjusted.insert(key.clone(), notice.message.clone());
                        intake.notices.push((key.clone(), notice.message));
                    }
                    candidates.insert(key.clone(), value);
                }
                Err(reason) => {
                    self.refused.insert(key.clone(), reason);
                }
            }
        }
        self.leave_out_contradictions(&mut candidates, present, machine);
        intake.refused = self
            .refused
            .iter()
            .filter(|(key, reason)| before.get(*key) != Some(*reason) || self.seen.get(*key) != keys.get(*key))
            .map(|(key, reason)| (key.clone(), reason.clone()))
            .collect();
        self.refusals += intake.refused.len() as u64;
        self.seen.clone_from(keys);
        intake.change = (!candidates.is_empty()).then(|| change(&candidates));
        intake
    }

    /// Rules across fields: as long as the keys together break one, those that are told of it are refused.
    fn leave_out_contradictions(&mut self, candidates: &mut Candidates, present: &Value, machine: Machine) {
        while !candidates.is_empty() {
            let Err(violations) = judged(candidates, present, machine) else {
                return;
            };
            let blamed: BTreeSet<String> = candidates
                .keys()
                .filter(|key| violations.iter().any(|violation| concerns(key, violation)))
                .cloned()
                .collect();
            // A key can contradict a setting that it is not told at: then whoever spoils the rest is found by leaving it out.
            let blamed = if blamed.is_empty() {
                let spoils = |key: &&String| {
                    let mut rest = candidates.clone();
                    rest.remove(*key);
                    judged(&rest, present, machine).is_ok()
                };
                match candidates.keys().find(spoils) {
                    Some(key) => BTreeSet::from([key.clone()]),
                    None => candidates.keys().cloned().collect(),
                }
            } else {
                blamed
            };
            let reason = joined(&violations);
            for key in blamed {
                candidates.remove(&key);
                self.refused.insert(key, reason.clone());
            }
        }
    }

    /// A look-out that has seen these keys before, so that a restart does not undo what other sources have set since. Values that
    /// are refused by themselves are known as such from the start.
    #[must_use]
    pub fn having_seen(seen: BTreeMap<String, String>) -> Self {
        let refused = seen
            .iter()
            .filter_map(|(key, text)| Some((key.clone(), joined(&check_key(key, text).err()?))))
            .collect();
        Self {
            seen,
            refused,
            ..Self::default()
        }
    }

    /// Keys that were written to the ConfigMap from here: when it shows them, nothing has changed.
    pub fn wrote(&mut self, keys: &BTreeMap<String, String>) {
        for (key, text) in keys {
            self.seen.insert(key.clone(), text.clone());
            self.adjusted.remove(key);
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

    /// Keys whose present value is in force in an adjusted form.
    #[must_use]
    pub fn adjusted(&self) -> &BTreeMap<String, String> {
        &self.adjusted
    }

    /// Values refused since the start.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals
    }
}

fn judged(candidates: &Candidates, present: &Value, machine: Machine) -> Result<(), Vec<Violation>> {
    // Good keys always apply: each names a field of the document.
    let document = change(candidates).apply(present).unwrap_or(Value::Null);
    let (settings, _) = Settings::parse(&document)?;
    machine.judge(&settings.to_json(), present)
}

fn change(candidates: &Candidates) -> Change {
    let operations = candidates
        .iter()
        .map(|(key, value)| json!({ "op": "add", "path": pointer(key), "value": value }))
        .collect();
    Change::Patch(Value::Array(operations))
}

fn concerns(key: &str, violation: &Violation) -> bool {
    violation
        .path
        .strip_prefix(pointer(key).as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn joined(violations: &[Violation]) -> String {
    let messages: Vec<&str> = violations.iter().map(|violation| violation.message.as_str()).collect();
    messages.join("; ")
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

    fn present() -> Value {
        Settings::default().to_json()
    }

    fn set(intake: &Intake) -> Vec<&str> {
        match &intake.change {
            Some(Change::Patch(Value::Array(operations))) => operations
                .iter()
                .filter_map(|operation| operation["path"].as_str())
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_key_in_which_a_name_stands_twice_is_refused() {
        let twice = r#"[{"name":"private","path_prefix":"/a","path_prefix":"/b","cache":false}]"#;
        let mut map = ConfigMap::default();
        let intake = map.look(
            &keys(&[("routes", twice), ("default_ttl", "15m")]),
            &present(),
            Machine::default(),
        );
        assert_eq!(set(&intake), ["/default_ttl"]);
        assert!(intake.refused[0].1.contains("path_prefix"), "{:?}", intake.refused);
    }

    #[test]
    fn good_keys_pass_and_bad_ones_are_refused_alone() {
        for bad in ["", "0", "abc", "-5", "1e9999", "NaN", " ", "1200.0.0"] {
            let mut map = ConfigMap::default();
            let all = [("cache_size", bad), ("default_ttl", "15m"), ("max_connections", "50")];
            let intake = map.look(&keys(&all), &present(), Machine::default());
            assert_eq!(set(&intake), ["/default_ttl", "/max_connections"], "{bad:?}");
            assert_eq!(intake.refused[0].0, "cache_size");
            let healed = [
                ("cache_size", "1200.5"),
                ("default_ttl", "15m"),
                ("max_connections", "50"),
            ];
            let intake = map.look(&keys(&healed), &present(), Machine::default());
            assert_eq!(
                intake.change,
                Some(Change::Patch(
                    json!([{"op": "add", "path": "/cache_size", "value": 1200}])
                ))
            );
            assert!(intake.notices[0].1.contains("rounded down"), "{:?}", intake.notices);
            assert!(map.refused().is_empty() && map.adjusted().contains_key("cache_size"));
        }
    }

    #[test]
    fn what_did_not_change_is_not_looked_at_again() {
        let mut map = ConfigMap::default();
        let bad = keys(&[("cache_size", "abc")]);
        assert_eq!(map.look(&bad, &present(), Machine::default()).refused.len(), 1);
        assert_eq!(
            map.look(&bad, &present(), Machine::default()),
            Intake::default(),
            "said once"
        );
        assert_eq!((map.refused().len(), map.refusals()), (1, 1), "and remembered");
        let again = ConfigMap::having_seen(map.seen().clone());
        assert_eq!(again.refused().len(), 1, "also over a restart");
        map.look(&keys(&[]), &present(), Machine::default());
        assert!(map.refused().is_empty());
    }

    #[test]
    fn a_key_beyond_the_machine_is_refused_alone() {
        let mut map = ConfigMap::default();
        let machine = Machine { memory_mb: Some(512) };
        let all = [("cache_memory_mb", "513"), ("cache_size", "77")];
        let intake = map.look(&keys(&all), &present(), machine);
        assert_eq!(set(&intake), ["/cache_size"]);
        assert_eq!(intake.refused[0].0, "cache_memory_mb");
    }

    #[test]
    fn keys_that_contradict_are_refused_and_the_others_pass() {
        let mut map = ConfigMap::default();
        let all = [
            ("cache_size", "77"),
            ("default_ttl", "2h"),
            ("freshness.ttl_ceiling", "1h"),
        ];
        let intake = map.look(&keys(&all), &present(), Machine::default());
        assert_eq!(set(&intake), ["/cache_size", "/freshness/ttl_ceiling"]);
        assert!(map.refused()["default_ttl"].contains("above"), "{:?}", map.refused());
        let mut lower = present();
        lower["freshness"]["ttl_ceiling"] = json!("1h");
        let wider = [
            ("cache_size", "77"),
            ("default_ttl", "2h"),
            ("freshness.ttl_ceiling", "3h"),
        ];
        let intake = map.look(&keys(&wider), &lower, Machine::default());
        assert_eq!(set(&intake), ["/default_ttl", "/freshness/ttl_ceiling"], "tried again");
        assert!(map.refused().is_empty());
    }

    #[test]
    fn a_key_that_contradicts_what_another_door_set_is_refused() {
        let mut present = present();
        present["default_ttl"] = json!("2h");
        let mut map = ConfigMap::default();
        let intake = map.look(
            &keys(&[("freshness.ttl_ceiling", "1h"), ("cache_size", "5")]),
            &present,
            Machine::default(),
        );
        assert_eq!(set(&intake), ["/cache_size"]);
        assert!(map.refused().contains_key("freshness.ttl_ceiling"));
    }
}
