//! Whether these settings are what anybody has decided on: there was no state at the start, or only an older one.

use crate::Millis;
use crate::settings::history::SettingsHistory;
use std::collections::{BTreeMap, BTreeSet};

/// Envoys of an older history that come later than this after the start are brought up to date like any other.
const DOUBTFUL_MS: Millis = 600_000;
/// Envoys remembered that run on others.
const NOTED: usize = 1_000;
/// Envoys named to operators.
const NAMED: usize = 5;

/// Whether somebody has decided on `new`, which comes into force after `before`. What other replicas have agreed on is decided, unless all
/// of them began without settings.
#[must_use]
pub fn is_decided(before: &SettingsHistory, new: &SettingsHistory) -> bool {
    let present = new.present();
    let by_somebody = !matches!(present.author.source.as_str(), "config_map" | "recovery" | "start");
    let of_others = new.epoch() != before.epoch() && !new.is_untouched();
    by_somebody && present.number != before.present().number || of_others
}

/// Nobody has decided on these settings yet.
#[derive(Debug)]
pub struct Doubt {
    since_ms: Millis,
    /// Envoys that run on others, and on which.
    others: BTreeMap<String, String>,
    /// Why their document could not be adopted.
    failures: BTreeSet<String>,
}

impl Doubt {
    /// It begins now.
    #[must_use]
    pub fn since(now_ms: Millis) -> Self {
        Self {
            since_ms: now_ms,
            others: BTreeMap::new(),
            failures: BTreeSet::new(),
        }
    }

    /// No Envoy has shown for ten minutes that it runs on others.
    #[must_use]
    pub fn is_over(&self, now_ms: Millis) -> bool {
        self.others.is_empty() && self.since_ms.saturating_add(DOUBTFUL_MS) < now_ms
    }

    /// For `/health`; `None` while no Envoy runs on anything else.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let (envoy, theirs) = self.others.first_key_value()?;
        let why = self.failures.iter().next().map_or("being asked for it", String::as_str);
        Some(format!(
            "this control plane began without settings, and {} Envoys run on others ({envoy}: {theirs}): nothing is pushed; their document is adopted as soon as one of them tells it ({why}), or put settings in force with ?confirm=true",
            self.others.len()
        ))
    }

    /// Whether any Envoy was left on others.
    #[must_use]
    pub fn concerns_envoys(&self) -> bool {
        !self.others.is_empty()
    }

    /// An Envoy runs on others; at most 1,000 are remembered.
    pub fn note(&mut self, envoy: &str, theirs: String) {
        if self.others.len() < NOTED {
            self.others.insert(envoy.to_owned(), theirs);
        }
    }

    /// Why the settings of an Envoy could not be adopted; the first five are kept.
    pub fn failed(&mut self, why: String) {
        if self.failures.len() < NAMED {
            self.failures.insert(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::history::Author;
    use optimizer_proto::settings::Settings;
    use serde_json::json;

    #[test]
    fn defaults_that_others_began_with_are_no_decision() {
        let history = |epoch: &str| SettingsHistory::new(epoch.to_owned(), &Settings::default(), 0);
        let changed = |epoch: &str, source: &str| {
            let author = Author {
                source: source.to_owned(),
                ..Author::default()
            };
            let mut changed = history(epoch);
            changed.adopt(json!({"cache_size": 1}), author, 1);
            changed
        };
        let before = history("a");
        for (new, decided) in [
            (history("a"), false),
            (history("b"), false),
            (changed("a", "rest"), true),
            (changed("a", "adopted"), true),
            (changed("a", "config_map"), false),
            (changed("a", "recovery"), false),
            (changed("b", "rest"), true),
            (changed("b", "recovery"), true),
        ] {
            assert_eq!(is_decided(&before, &new), decided, "{new:?}");
        }
    }
}
