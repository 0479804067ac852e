//! What replicas of the control plane tell each other.

use crate::Millis;
use crate::alerts::Silence;
use crate::fleet::ConnectionId;
use crate::purges::{Matched, Purge};
use crate::steering::Said;
use crate::warm::WarmupProgress;
use optimizer_proto::v1::{Hello, SettingsAck, TelemetryReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
        /// What it has counted; told later, once more, where counting takes long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matched: Option<Matched>,
    },
    /// All Envoys have a purge to do once more.
    #[serde(rename = "reopened")]
    PurgeReopened {
        /// The purge's id.
        id: String,
    },
    /// An operator has overridden a breaker.
    #[serde(rename = "said")]
    BreakerOverridden {
        /// How.
        said: Said,
    },
    /// Somebody has seen an alert.
    #[serde(rename = "acknowledged")]
    AlertAcknowledged {
        /// The alert's id.
        id: String,
        /// Who.
        by: String,
    },
    /// Nobody is to be told of an alert.
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
}

impl Fact {
    /// By which a fact is found in the journal; `None` for those that may be told twice.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::PurgeAccepted { purge } => Some(purge.id.clone()),
            Self::BreakerOverridden { said } => Some(format!("{}/{}", said.at, said.upstream)),
            _ => None,
        }
    }
}

/// Of all that a replica knows, what the journal lacks: it lost it, or the replica was away when it happened. `found` names what is in
/// the journal. What has no name is told again.
pub fn lacking(facts: impl IntoIterator<Item = Fact>, found: &BTreeSet<String>) -> Vec<Fact> {
    let lacks = |fact: &Fact| fact.name().is_none_or(|name| !found.contains(&name));
    facts.into_iter().filter(lacks).collect()
}

/// What a replica has heard of an Envoy. Each update says who the Envoy is, so that none needs another one to be understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EnvoyUpdate {
    /// How the Envoy introduced itself.
    pub hello: Hello,
    /// The stream that it is on.
    pub connection: ConnectionId,
    /// That stream is open.
    pub connected: bool,
    /// When this was so.
    pub at_ms: Millis,
    /// What it said last of the settings.
    pub ack: Option<SettingsAck>,
    /// What it has reported.
    pub report: Option<TelemetryReport>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purges::Target;
    use crate::steering::Word;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

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
            matched: BTreeMap::new(),
        }
    }

    #[test]
    fn the_journal_is_written_as_every_replica_reads_it() {
        let said = Said {
            at: 3,
            upstream: "origin".to_owned(),
            action: Word::ForceOpen,
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
        let facts: [(Fact, Value); 8] = [
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
                },
                json!({"what": "applied", "id": "1", "envoy": "a", "at": 6}),
            ),
            (
                Fact::PurgeReopened { id: "1".to_owned() },
                json!({"what": "reopened", "id": "1"}),
            ),
            (
                Fact::BreakerOverridden { said: said.clone() },
                json!({"what": "said", "said": json!(said)}),
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
        ];
        for (fact, written) in facts {
            assert_eq!(serde_json::to_value(&fact).unwrap(), written);
            assert_eq!(serde_json::from_value::<Fact>(written).unwrap(), fact);
        }
    }
}
