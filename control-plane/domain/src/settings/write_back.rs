//! What a ConfigMap must say so that it, read alone, gives the settings in force.

use optimizer_proto::settings::{Settings, check_key};
use serde_json::Value;
use std::collections::BTreeMap;

/// Keys to write, with their text. A key of the ConfigMap follows its setting; a setting without a key gets one as soon
/// as it differs from the built-in default. A key with a rejected value is left alone: its author has to see the
/// mistake. Keys that are not settings are not touched.
#[must_use]
pub fn keys_to_write(
    present: &BTreeMap<String, String>,
    refused: &BTreeMap<String, String>,
    settings: &Value,
) -> BTreeMap<String, String> {
    let defaults = Settings::default().to_json();
    let mut wanted = BTreeMap::new();
    for (key, value) in leaves(settings) {
        // A key above (`breaker` with an object) says it all.
        let holder = ancestors(&key).find(|ancestor| present.contains_key(*ancestor));
        let (name, value, default) = match holder {
            Some(holder) => (holder.to_owned(), at(settings, holder), at(&defaults, holder)),
            None => (key.clone(), value, at(&defaults, &key)),
        };
        if refused.contains_key(&name) {
            continue;
        }
        let agrees = match present.get(&name) {
            Some(text) => check_key(&name, text).is_ok_and(|(parsed, _)| Some(&parsed) == value),
            None => value == default,
        };
        if let Some(value) = value.filter(|_| !agrees) {
            wanted.insert(name, text_of(value));
        }
    }
    wanted
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The key itself and what it lies in: `breaker.open_wait`, `breaker`.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(above, _)| above))
}

fn at<'a>(document: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(document, |value, name| value.get(name))
}

/// Every value that is no object, by its flat key.
fn leaves(document: &Value) -> Vec<(String, Option<&Value>)> {
    let mut found = Vec::new();
    walk("", document, &mut found);
    found
}

fn walk<'a>(above: &str, value: &'a Value, found: &mut Vec<(String, Option<&'a Value>)>) {
    match value.as_object() {
        Some(fields) => {
            for (name, inner) in fields {
                let key = if above.is_empty() {
                    name.clone()
                } else {
                    format!("{above}.{name}")
                };
                walk(&key, inner, found);
            }
        }
        None => found.push((above.to_owned(), Some(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect()
    }

    fn settings(patch: Value) -> Value {
        Settings::parse(&patch).unwrap().0.to_json()
    }

    #[test]
    fn only_what_differs_is_written() {
        let none = BTreeMap::new();
        let present = keys(&[("cache_size", "1200.0"), ("default_ttl", "300s"), ("comment", "ours")]);
        let same = settings(json!({"cache_size": 1200, "default_ttl": "5m"}));
        assert_eq!(
            keys_to_write(&present, &none, &same),
            none,
            "other spellings of the same"
        );
        let changed = settings(json!({"cache_size": 50, "default_ttl": "5m", "breaker": {"open_wait": "7s"}}));
        assert_eq!(
            keys_to_write(&present, &none, &changed),
            keys(&[("breaker.open_wait", "7s"), ("cache_size", "50")])
        );
    }

    #[test]
    fn a_key_with_an_object_is_written_whole_and_read_back_the_same() {
        let present = keys(&[("breaker", r#"{"open_wait": "2s"}"#)]);
        let changed = settings(json!({"breaker": {"open_wait": "7s", "probes": 9}}));
        let written = keys_to_write(&present, &BTreeMap::new(), &changed);
        assert_eq!(written.keys().collect::<Vec<_>>(), ["breaker"]);
        assert_eq!(check_key("breaker", &written["breaker"]).unwrap().0, changed["breaker"]);
    }

    #[test]
    fn a_refused_key_stays_as_it_is_and_lists_are_json() {
        let present = keys(&[("cache_size", "")]);
        let routes = settings(json!({"cache_size": 5, "purge_sources": ["10.0.0.0/8"]}));
        let written = keys_to_write(&present, &keys(&[("cache_size", "bad")]), &routes);
        assert_eq!(written, keys(&[("purge_sources", r#"["10.0.0.0/8"]"#)]));
    }
}
