//! What replicas of the control plane tell each other.

mod own_entries;

pub use own_entries::OwnEntries;

use crate::Millis;
use crate::alerts::Silence;
use crate::breakers::overrides::BreakerOverride;
use crate::cache::warmup::WarmupProgress;
use crate::experiments::Experiment;
use crate::operations::Operation;
use crate::purges::{Matched, Purge, is_zero};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What must not be forgotten: it is in a journal that all replicas share. The names are those of the journal, which older and newer
/// replicas read too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what")]
pub enum Fact {
    /// A purge was accepted.
    #[serde(rename = "purge")]
    PurgeAccepted {
        /// It, with the receipts that are known.
        purge: Purge,
    },
    /// An Envoy has done a purge.
    #[serde(rename = "applied")]
    PurgeApplied {
        /// The purge's id.
        id: String,
        /// The Envoy's instance id.
        envoy: String,
        /// When.
        at: Millis,
        /// What it counted; sent again later where counting takes long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matched: Option<Matched>,
        /// In which round of the purge.
        #[serde(default, skip_serializing_if = "is_zero")]
        round: u32,
    },
    /// All Envoys have a purge to do once more.
    #[serde(rename = "reopened")]
    PurgeReopened {
        /// The purge's id.
        id: String,
        /// The round that begins; 0 = the next one, from a replica of an earlier version.
        #[serde(default, skip_serializing_if = "is_zero")]
        round: u32,
    },
    /// An operator has overridden a breaker.
    #[serde(rename = "said")]
    BreakerOverridden {
        /// How.
        #[serde(rename = "said")]
        entry: BreakerOverride,
    },
    /// Somebody has seen an alert.
    #[serde(rename = "acknowledged")]
    AlertAcknowledged {
        /// The alert's id.
        id: String,
        /// Who.
        by: String,
    },
    /// Notifications of an alert are suppressed.
    #[serde(rename = "silenced")]
    AlertSilenced {
        /// Which, and how long.
        silence: Silence,
    },
    /// A silence is over.
    #[serde(rename = "unsilenced")]
    AlertUnsilenced {
        /// Name of the rule.
        name: String,
    },
    /// How warm an Envoy is by now.
    #[serde(rename = "warmed")]
    EnvoyWarmed {
        /// Its instance id.
        envoy: String,
        /// How warm.
        warmth: WarmupProgress,
    },
    /// How an operation stands. Its beginning and end are in the journal; in between it is told every ten seconds beside the journal.
    #[serde(rename = "operation")]
    OperationTold {
        /// It.
        operation: Box<Operation>,
    },
    /// How an experiment stands. Its beginning and end are in the journal; in between it is told every ten seconds beside the journal.
    #[serde(rename = "experiment")]
    ExperimentTold {
        /// It.
        experiment: Box<Experiment>,
    },
    /// Whoever does an operation is to end it.
    #[serde(rename = "cancelled")]
    OperationCancelled {
        /// Its id.
        id: String,
        /// Who says so.
        by: String,
    },
}

impl Fact {
    /// The key that identifies a fact in the journal; `None` for facts that may be written twice.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::PurgeAccepted { purge } => Some(purge.id.clone()),
            Self::BreakerOverridden { entry } => Some(format!(
                "{}/{}/{}/{:?}",
                entry.at, entry.upstream, entry.who, entry.action
            )),
            _ => None,
        }
    }
}

/// What was found in the journal, by what facts are found by.
#[derive(Debug, Default)]
pub struct Journaled {
    names: BTreeSet<String>,
    /// Of each purge: its round, and the Envoys whose receipts of that round are there.
    receipts: BTreeMap<String, (u32, BTreeSet<String>)>,
}

impl Journaled {
    /// A fact is there.
    pub fn note(&mut self, fact: &Fact) {
        self.names.extend(fact.name());
        match fact {
            Fact::PurgeAccepted { purge } => self.receipts(&purge.id, purge.round, purge.applied.keys()),
            Fact::PurgeApplied { id, envoy, round, .. } => self.receipts(id, *round, [envoy]),
            Fact::PurgeReopened { id, round } => self.receipts(id, *round, []),
            _ => {}
        }
    }

    /// Receipts of an earlier round than the known one are void, and so are the known ones where a later round has begun.
    fn receipts<'e>(&mut self, id: &str, round: u32, envoys: impl IntoIterator<Item = &'e String>) {
        let held = self.receipts.entry(id.to_owned()).or_default();
        if round > held.0 {
            *held = (round, BTreeSet::new());
        }
        if round == held.0 {
            held.1.extend(envoys.into_iter().cloned());
        }
    }

    /// Of all facts that a replica knows, those that the journal lacks: the journal lost them, or the replica was away
    /// when they happened. Facts without a key are written again. So is a purge of which the journal lacks receipts.
    pub fn lacks(&self, facts: impl IntoIterator<Item = Fact>) -> Vec<Fact> {
        let lacks = |fact: &Fact| {
            let known = fact.name().is_some_and(|name| self.names.contains(&name));
            let whole = match fact {
                Fact::PurgeAccepted { purge } => self.receipts.get(&purge.id).is_some_and(|(round, envoys)| {
                    *round > purge.round
                        || *round == purge.round && purge.applied.keys().all(|envoy| envoys.contains(envoy))
                }),
                _ => true,
            };
            !known || !whole
        };
        facts.into_iter().filter(lacks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breakers::overrides::OverrideAction;
    use crate::operations::Kind;
    use crate::purges::Target;
    use serde_json::{Value, json};

    fn purge() -> Purge {
        Purge {
            id: "1".to_owned(),
            at: 5,
            by: "me".to_owned(),
            reason: String::new(),
            targets: vec![Target::All],
            soft: false,
            idempotency_key: None,
            applied: BTreeMap::new(),
            awaited: BTreeSet::new(),
            unrecorded: false,
            round: 0,
            matched: BTreeMap::new(),
        }
    }

    #[test]
    fn the_journal_is_written_as_every_replica_reads_it() {
        let entry = BreakerOverride {
            at: 3,
            upstream: "origin".to_owned(),
            action: OverrideAction::ForceOpen,
            until: None,
            who: "me".to_owned(),
            reason: String::new(),
        };
        let silence = Silence {
            name: "latency".to_owned(),
            by: "me".to_owned(),
            reason: String::new(),
            until: 9,
        };
        let (purge, warmth) = (purge(), WarmupProgress::begun(4));
        let operation = Operation::begun("3".to_owned(), Kind::Warm, ("me", "a", ""), 7);
        let facts: [(Fact, Value); 10] = [
            (
                Fact::PurgeAccepted { purge: purge.clone() },
                json!({"what": "purge", "purge": json!(purge)}),
            ),
            (
                Fact::PurgeApplied {
                    id: "1".to_owned(),
                    envoy: "a".to_owned(),
                    at: 6,
                    matched: None,
                    round: 0,
                },
                json!({"what": "applied", "id": "1", "envoy": "a", "at": 6}),
            ),
            (
                Fact::PurgeReopened {
                    id: "1".to_owned(),
                    round: 2,
                },
                json!({"what": "reopened", "id": "1", "round": 2}),
            ),
            (
                Fact::BreakerOverridden { entry: entry.clone() },
                json!({"what": "said", "said": json!(entry)}),
            ),
            (
                Fact::AlertAcknowledged {
                    id: "2".to_owned(),
                    by: "me".to_owned(),
                },
                json!({"what": "acknowledged", "id": "2", "by": "me"}),
            ),
            (
                Fact::AlertSilenced {
                    silence: silence.clone(),
                },
                json!({"what": "silenced", "silence": json!(silence)}),
            ),
            (
                Fact::AlertUnsilenced {
                    name: "latency".to_owned(),
                },
                json!({"what": "unsilenced", "name": "latency"}),
            ),
            (
                Fact::EnvoyWarmed {
                    envoy: "a".to_owned(),
                    warmth,
                },
                json!({"what": "warmed", "envoy": "a", "warmth": json!(warmth)}),
            ),
            (
                Fact::OperationTold {
                    operation: Box::new(operation),
                },
                json!({"what": "operation", "operation": {
                    "id": "3", "kind": "warm", "by": "me", "envoy": "a", "key": "", "started_at": 7, "updated_at": 7, "state": "running",
                    "progress": {"stage": "begun", "unit": "bytes", "done": 0, "total": null, "since": 7, "from": 0},
                    "cancelled_by": "", "receipt": {"complete": false, "incomplete_because": "", "counts": {}},
                }}),
            ),
            (
                Fact::OperationCancelled {
                    id: "3".to_owned(),
                    by: "you".to_owned(),
                },
                json!({"what": "cancelled", "id": "3", "by": "you"}),
            ),
        ];
        for (fact, written) in facts {
            assert_eq!(serde_json::to_value(&fact).unwrap(), written);
            assert_eq!(serde_json::from_value::<Fact>(written).unwrap(), fact);
        }
    }

    #[test]
    fn what_the_journal_lost_is_put_back_and_receipts_too() {
        let mut done = purge();
        done.applied.insert("a".to_owned(), 6);
        let fact = Fact::PurgeAccepted { purge: done };
        let lost = Journaled::default();
        assert_eq!(lost.lacks([fact.clone()]), std::slice::from_ref(&fact));
        let mut without_receipt = Journaled::default();
        without_receipt.note(&Fact::PurgeAccepted { purge: purge() });
        assert_eq!(without_receipt.lacks([fact.clone()]), std::slice::from_ref(&fact));
        let receipt = |round| Fact::PurgeApplied {
            id: "1".to_owned(),
            envoy: "a".to_owned(),
            at: 6,
            matched: None,
            round,
        };
        without_receipt.note(&receipt(0));
        assert_eq!(without_receipt.lacks([fact.clone()]), []);
        without_receipt.note(&Fact::PurgeReopened {
            id: "1".to_owned(),
            round: 1,
        });
        assert_eq!(without_receipt.lacks([fact.clone()]), [], "of an earlier round");
        let mut again = purge();
        again.round = 1;
        again.applied.insert("a".to_owned(), 8);
        let again = Fact::PurgeAccepted { purge: again };
        assert_eq!(without_receipt.lacks([again.clone()]), std::slice::from_ref(&again));
        without_receipt.note(&receipt(1));
        assert_eq!(without_receipt.lacks([again]), []);
    }
}
