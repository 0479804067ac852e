//! The shared tier: in Redis, or in a control plane that stands alone, as in `tier/{mod,redis_store,embedded}.rs`.

use super::{Act, Asked, CallId, Replica, Wire};
use crate::redis::{Answer, Ask, Slot, Value};
use control_domain::purges::Purge;
use control_domain::purges::tier_order::{Fence, Known, Parts, PurgeTable, Subject};
use optimizer_proto::v1::tier_found::Result as Found;
use optimizer_proto::v1::{TierFound, TierGet, TierPut, TierStored};
use prost::Message;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A connection that was lost is tried again after this.
const PAUSE_MS: u64 = 300;

/// What is done with an answer.
#[derive(Debug)]
enum Then {
    /// The order of purges is looked into; what was known before.
    Looked(Known),
    /// Another order begins with a purge of everything.
    Begun(Known),
    /// The purges that were missed.
    Read,
    Purge {
        id: String,
        subjects: Vec<Subject>,
    },
    Get {
        call: CallId,
        known: Known,
    },
    Set {
        call: CallId,
    },
}

/// The tier as this replica knows it.
#[derive(Debug)]
pub(super) struct Tier {
    table: PurgeTable,
    /// Stored responses of a control plane that stands alone; `None`: they are in Redis.
    embedded: Option<BTreeMap<Slot, Rc<Value>>>,
    is_up: bool,
    connecting: bool,
    retry_ms: u64,
    asked: Asked<Then>,
}

impl Tier {
    pub(super) fn new(shares: bool, now_ms: u64) -> Self {
        let mut table = PurgeTable::default();
        if !shares {
            // What an Envoy fetched before this process began may have been purged, and nobody remembers.
            table.record(Fence::default().next(now_ms), &Subject::All);
        }
        Self {
            table,
            embedded: (!shares).then(BTreeMap::new),
            is_up: false,
            connecting: false,
            retry_ms: 0,
            asked: Asked::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }
}

impl Replica {
    fn ask_tier(&mut self, ask: Ask, then: Then) {
        let id = self.number_of_its_own();
        self.tier.asked.insert(id, then);
        self.acts.push(Act::Ask(Wire::Tier, id, ask));
    }

    pub(super) fn keep_tier(&mut self, now_ms: u64) {
        let tier = &mut self.tier;
        if tier.embedded.is_none() && !tier.is_up && !tier.connecting && tier.retry_ms <= now_ms {
            tier.connecting = true;
            self.acts.push(Act::Connect(Wire::Tier));
        }
    }

    /// A connection is used by others only when the purges behind it have been looked into.
    pub(super) fn tier_is_up(&mut self) {
        let known = self.tier.table.known();
        self.ask_tier(Ask::LookAtOrder(known), Then::Looked(known));
    }

    pub(super) fn tier_is_down(&mut self, now_ms: u64) {
        let tier = &mut self.tier;
        (tier.is_up, tier.connecting, tier.retry_ms) = (false, false, now_ms + PAUSE_MS);
        for then in std::mem::take(&mut tier.asked).into_values() {
            match then {
                Then::Purge { id, .. } => self.tier_recorded(&id, false, now_ms),
                Then::Get { call, .. } | Then::Set { call } => self.acts.push(Act::Answer(call, None)),
                Then::Looked(_) | Then::Begun(_) | Then::Read => {}
            }
        }
    }

    pub(super) fn tier_answered(&mut self, id: u64, answer: Answer, now_ms: u64) {
        let Some(then) = self.tier.asked.remove(&id) else {
            return;
        };
        match (then, answer) {
            (
                Then::Looked(known),
                Answer::Order {
                    newest,
                    from_read,
                    from_newest,
                },
            ) => {
                if known.is_another_order(newest, from_read, from_newest, now_ms) {
                    self.ask_tier(Ask::Purge(vec![Subject::All]), Then::Begun(known));
                } else {
                    self.ask_tier(Ask::OrderAfter(known.read), Then::Read);
                }
            }
            (Then::Begun(known), Answer::Purged(fence)) => {
                // A clock that went back with the data gives places that are taken.
                if fence <= known.newest {
                    self.give_wire_up(Wire::Tier, now_ms);
                } else {
                    self.ask_tier(Ask::OrderAfter(known.read), Then::Read);
                }
            }
            (Then::Read, Answer::Purges(purges)) => {
                self.record(&purges);
                (self.tier.is_up, self.tier.connecting) = (true, false);
            }
            (Then::Purge { id, subjects }, Answer::Purged(fence)) => {
                for subject in &subjects {
                    self.tier.table.note(fence, subject);
                }
                self.tier_recorded(&id, true, now_ms);
            }
            (Then::Get { call, known }, Answer::Got { value, purges }) => {
                let places: Vec<Fence> = purges.iter().map(|(place, _)| *place).collect();
                if !known.goes_on(&places, true, now_ms) {
                    self.acts.push(Act::Answer(call, None));
                    self.give_wire_up(Wire::Tier, now_ms);
                    return;
                }
                self.record(&purges);
                self.found(call, value.as_deref(), now_ms);
            }
            (Then::Set { call }, Answer::Set) => {
                let stored = TierStored {
                    stored: true,
                    ..TierStored::default()
                };
                self.acts.push(Act::Answer(call, Some(stored.encode_to_vec())));
            }
            (then, answer) => unreachable!("{then:?} {answer:?}"),
        }
    }

    fn record(&mut self, purges: &[(Fence, Subject)]) {
        for (fence, subject) in purges {
            self.tier.table.record(*fence, subject);
        }
    }

    /// Has a purge recorded in the order.
    pub(super) fn record_in_tier(&mut self, purge: &Purge, now_ms: u64) {
        let subjects: Vec<Subject> = purge.targets.iter().map(Subject::of).collect();
        if self.tier.embedded.is_some() {
            for subject in &subjects {
                let fence = self.tier.table.last().next(now_ms);
                self.tier.table.record(fence, subject);
            }
            self.tier_recorded(&purge.id, true, now_ms);
        } else if self.tier.is_up {
            let (id, asked) = (purge.id.clone(), subjects.clone());
            self.ask_tier(Ask::Purge(asked), Then::Purge { id, subjects });
        } else {
            self.tier_recorded(&purge.id, false, now_ms);
        }
    }

    /// An Envoy calls.
    pub(crate) fn tier_call(&mut self, call: CallId, method: &str, message: &[u8], now_ms: u64) {
        let answered = match method {
            "Get" => TierGet::decode(message)
                .ok()
                .and_then(|asked| self.get(call, &asked, now_ms)),
            "Put" => TierPut::decode(message)
                .ok()
                .and_then(|offer| self.put(call, offer, now_ms)),
            _ => None,
        };
        if answered.is_none() {
            self.acts.push(Act::Answer(call, None));
        }
    }

    fn get(&mut self, call: CallId, asked: &TierGet, now_ms: u64) -> Option<()> {
        let slot = (asked.key.clone(), asked.variant);
        if let Some(values) = &self.tier.embedded {
            let value = values.get(&slot).cloned();
            self.found(call, value.as_deref(), now_ms);
            return Some(());
        }
        let known = self.tier.is_up.then(|| self.tier.table.known())?;
        let from = known.read;
        self.ask_tier(Ask::Get { slot, from }, Then::Get { call, known });
        Some(())
    }

    fn found(&mut self, call: CallId, value: Option<&Value>, now_ms: u64) {
        let table = &self.tier.table;
        let mut found = TierFound {
            fence: Some(table.last().into()),
            now_ms,
            ..TierFound::default()
        };
        let usable = value.filter(|value| {
            let parts = Parts {
                host: &value.host,
                path: &value.path,
                tags: &[],
            };
            table.hands_out(value.fence, &parts, now_ms) && value.usable_until_ms > now_ms
        });
        if let Some(value) = usable {
            found.set_result(Found::Hit);
            found.value.clone_from(&value.bytes);
            found.ahead_ms = value.ahead_ms;
        } else {
            found.set_result(Found::Miss);
        }
        self.acts.push(Act::Answer(call, Some(found.encode_to_vec())));
    }

    fn put(&mut self, call: CallId, offer: TierPut, now_ms: u64) -> Option<()> {
        let parts = Parts {
            host: &offer.host,
            path: &offer.path,
            tags: &offer.tags,
        };
        let fence = self
            .tier
            .table
            .admit(offer.fence.map(Fence::from), &parts, now_ms)
            .ok()?;
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let ahead_ms = signed(now_ms) - signed(offer.now_ms);
        let slot = (offer.key, offer.variant);
        let value = Rc::new(Value {
            bytes: offer.value,
            fence,
            host: offer.host,
            path: offer.path,
            usable_until_ms: offer.usable_until_ms.saturating_add_signed(ahead_ms),
            ahead_ms,
        });
        if let Some(values) = &mut self.tier.embedded {
            values.insert(slot, value);
            self.acts
                .push(Act::Answer(call, Some(TierStored::default().encode_to_vec())));
            return Some(());
        }
        if !self.tier.is_up {
            return None;
        }
        self.ask_tier(Ask::Set { slot, value }, Then::Set { call });
        Some(())
    }
}
