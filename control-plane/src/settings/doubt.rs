//! Whether these settings are what anybody has decided on: there was no state at the start, or only an older one.

use control_domain::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Envoys of an older history that come later than this after the start are brought up to date like any other.
const DOUBTFUL_MS: Millis = 600_000;
/// Envoys remembered that run on others.
const NOTED: usize = 1_000;
/// Envoys named to operators.
const NAMED: usize = 5;

/// Nobody has decided on these settings yet.
#[derive(Debug)]
pub(super) struct Doubt {
    since_ms: Millis,
    /// Envoys that run on others, and on which.
    others: BTreeMap<String, String>,
    /// Why their document could not be adopted.
    failures: BTreeSet<String>,
}

impl Doubt {
    pub(super) fn since(now_ms: Millis) -> Self {
        Self {
            since_ms: now_ms,
            others: BTreeMap::new(),
            failures: BTreeSet::new(),
        }
    }

    pub(super) fn is_over(&self, now_ms: Millis) -> bool {
        self.others.is_empty() && self.since_ms.saturating_add(DOUBTFUL_MS) < now_ms
    }

    /// For `/health`; `None` while no Envoy runs on anything else.
    pub(super) fn told(&self) -> Option<String> {
        let (envoy, theirs) = self.others.first_key_value()?;
        let why = self.failures.iter().next().map_or("being asked for it", String::as_str);
        Some(format!(
            "this control plane began without settings, and {} Envoys run on others ({envoy}: {theirs}): nothing is pushed; their document is adopted as soon as one of them tells it ({why}), or put settings in force with ?confirm=true",
            self.others.len()
        ))
    }

    /// Whether any Envoy was left on others.
    pub(super) fn concerns_envoys(&self) -> bool {
        !self.others.is_empty()
    }

    pub(super) fn note(&mut self, envoy: &str, theirs: String) {
        if self.others.len() < NOTED {
            self.others.insert(envoy.to_owned(), theirs);
        }
    }

    pub(super) fn failed(&mut self, why: String) {
        if self.failures.len() < NAMED {
            self.failures.insert(why);
        }
    }
}
