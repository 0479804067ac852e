//! Revisions that an Envoy knows and the history does not: lost with a disk, or claimed by an Envoy that is mistaken.

use crate::Millis;
use crate::settings::canary::Canary;
use crate::settings::history::SettingsHistory;
use optimizer_proto::v1::Hello;
use std::collections::BTreeMap;

/// An Envoy that claims to be this far ahead is mistaken.
pub const MOST_AHEAD: u64 = 10_000;
/// Revisions are lost with a disk: seldom. A node that claims so more often than this in an hour is not believed.
pub const RECOVERIES: usize = 4;
/// Nodes believed in an hour.
pub const NODES: usize = 64;
const HOUR_MS: Millis = 3_600_000;

/// By how many revisions of this history an Envoy is ahead; 0 where it is of another history.
#[must_use]
pub fn ahead(history: &SettingsHistory, canary: Option<&Canary>, hello: &Hello) -> u64 {
    let canary = canary.map_or(0, |canary| canary.revision.number);
    let present = history.present().number.max(canary);
    let ours = hello.epoch == history.epoch();
    hello.revision.saturating_sub(present) * u64::from(ours)
}

/// Who was believed, and when, in the last hour.
#[derive(Debug, Clone, Default)]
pub struct Recoveries {
    believed: BTreeMap<String, Vec<Millis>>,
}

impl Recoveries {
    /// Whether to believe a node that claims to be this far ahead; the claim is counted. One node's claims take nothing
    /// away from the others, and an impossible claim counts for nothing.
    pub fn believes(&mut self, node: &str, ahead: u64, now_ms: Millis) -> bool {
        if ahead == 0 || ahead > MOST_AHEAD {
            return false;
        }
        self.believed.retain(|_, times| {
            times.retain(|at| at.saturating_add(HOUR_MS) > now_ms);
            !times.is_empty()
        });
        if self.believed.len() >= NODES && !self.believed.contains_key(node) {
            return false;
        }
        let times = self.believed.entry(node.to_owned()).or_default();
        if times.len() >= RECOVERIES {
            return false;
        }
        times.push(now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::settings::Settings;

    #[test]
    fn what_one_node_claims_takes_nothing_from_another() {
        let mut recoveries = Recoveries::default();
        for _ in 0..10 {
            assert!(!recoveries.believes("liar", MOST_AHEAD + 1, 5));
            assert!(!recoveries.believes("liar", 0, 5));
        }
        for claim in 0..10 {
            assert_eq!(recoveries.believes("liar", 1, 5), claim < RECOVERIES);
        }
        assert!(recoveries.believes("honest", MOST_AHEAD, 5));
        assert!(!recoveries.believes("liar", 1, 4 + HOUR_MS));
        assert!(recoveries.believes("liar", 1, 5 + HOUR_MS), "an hour later");
    }

    #[test]
    fn so_many_nodes_are_believed_in_an_hour() {
        let mut recoveries = Recoveries::default();
        for node in 0..2 * NODES {
            assert_eq!(recoveries.believes(&node.to_string(), 1, 5), node < NODES);
        }
        assert!(recoveries.believes("another", 1, 5 + HOUR_MS));
    }

    #[test]
    fn only_revisions_of_this_history_are_ahead() {
        let history = SettingsHistory::new("a".to_owned(), &Settings::default(), 0);
        let hello = |epoch: &str, revision| Hello {
            epoch: epoch.to_owned(),
            revision,
            ..Hello::default()
        };
        assert_eq!(ahead(&history, None, &hello("a", 5)), 4);
        assert_eq!(ahead(&history, None, &hello("a", 1)), 0);
        assert_eq!(ahead(&history, None, &hello("b", 5)), 0);
    }
}
