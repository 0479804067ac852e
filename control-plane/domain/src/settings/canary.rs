//! A revision tried on a part of the fleet before all get it.
//!
//! The canary is not in the history: until it is promoted the settings are what they were, for everyone who asks, for new Envoys and
//! over a restart. Its number is the next one; given up, the settings in force are issued again above it.

use crate::settings::history::Revision;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Source of a revision that an experiment tries: it is judged by itself, and gives way to whatever an operator changes.
pub const EXPERIMENT: &str = "experiment";

/// A revision on trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// What is tried.
    pub revision: Revision,
    /// Share of the Envoys that was asked for, percent.
    pub share: u8,
    /// The Envoys that have it, by the name of their process. Who connects later is not among them.
    pub envoys: BTreeSet<String>,
}

impl Canary {
    /// Whether an experiment tries it, not an operator.
    #[must_use]
    pub fn is_experiment(&self) -> bool {
        self.revision.author.source == EXPERIMENT
    }

    /// Picks the Envoys: the share rounded up, so at least one. Which ones differs from revision to revision, so that it is not
    /// always the same users who try. `None` when there is nobody.
    #[must_use]
    pub fn pick(revision: Revision, share: u8, connected: Vec<String>) -> Option<Self> {
        let count = (connected.len() * usize::from(share)).div_ceil(100);
        let mut ranked: Vec<(u64, String)> = connected
            .into_iter()
            .map(|name| (rank(revision.number, &name), name))
            .collect();
        ranked.sort_unstable();
        let envoys: BTreeSet<String> = ranked.into_iter().take(count).map(|(_, name)| name).collect();
        (!envoys.is_empty()).then_some(Self {
            revision,
            share,
            envoys,
        })
    }
}

fn rank(revision: u64, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (revision, name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::history::Author;
    use serde_json::Value;

    fn pick(number: u64, share: u8, connected: usize) -> Option<Canary> {
        let revision = Revision {
            number,
            at_ms: 0,
            author: Author::default(),
            document: Value::Null,
        };
        Canary::pick(
            revision,
            share,
            (0..connected).map(|at| format!("envoy-{at}")).collect(),
        )
    }

    #[test]
    fn a_share_is_rounded_up() {
        for (share, connected, expected) in [
            (10, 1, 1),
            (10, 10, 1),
            (10, 11, 2),
            (50, 3, 2),
            (99, 100, 99),
            (1, 1000, 10),
        ] {
            assert_eq!(
                pick(2, share, connected).unwrap().envoys.len(),
                expected,
                "{share} % of {connected}"
            );
        }
        assert_eq!(pick(2, 50, 0), None);
    }

    #[test]
    fn the_pick_is_the_same_for_a_revision_and_another_for_the_next() {
        let chosen = |number| pick(number, 10, 100).unwrap().envoys;
        assert_eq!(chosen(2), chosen(2));
        assert_ne!(chosen(2), chosen(3));
    }
}
