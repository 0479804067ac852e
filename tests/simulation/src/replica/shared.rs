//! What a replica tells the others over Redis, and what it hears of them, as in `replication/{replica,run,follow,outgoing}.rs`.

use super::{Act, Asked, Replica, StreamId, Wire};
use crate::redis::{Answer, Ask, Batch, Entry, Places};
use control_domain::fleet::ConnectionId;
use control_domain::fleet::EnvoyUpdate;
use control_domain::fleet::replica_of;
use control_domain::purges::tier_order::Fence;
use control_domain::replication::{Fact, Journaled, OwnEntries};
use optimizer_proto::v1::{Hello, SettingsAck, TelemetryReport};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Entries under way together.
const AT_ONCE: usize = 100;
/// A connection that was lost is tried again after this.
const PAUSE_MS: u64 = 300;
/// Settings and other replicas are looked at so often.
const LOOK_EVERY_MS: u64 = 1_000;
/// Whoever waits for a report to be taken waits for so long at most.
const TAKEN_MS: u64 = 500;

/// What is done with an answer.
#[derive(Debug)]
enum Then {
    Settings,
    Appended(usize),
    Opened,
    Read,
    Beat,
}

/// What this replica knows of an Envoy that is connected to it.
#[derive(Debug)]
struct Own {
    hello: Hello,
    connection: ConnectionId,
    ack: Option<SettingsAck>,
}

/// An entry on its way.
#[derive(Debug)]
struct Waiting {
    entry: Entry,
    /// A report: by this stream, of this number.
    report: Option<(StreamId, u64)>,
}

/// The connection, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Shared {
    is_up: bool,
    connecting: bool,
    retry_ms: u64,
    looked_ms: u64,
    asked: Asked<Then>,
    outgoing: VecDeque<Waiting>,
    writing: bool,
    /// Reports that are acknowledged when they are taken, or at this time.
    untaken: BTreeMap<(StreamId, u64), u64>,
    own: BTreeMap<String, Own>,
    places: Places,
    /// What it wrote into the journal and has not read again.
    written: OwnEntries,
    /// What was found in a journal that is read from its beginning.
    found: Option<Journaled>,
}

impl Replica {
    pub(super) fn is_up(&self, wire: Wire) -> bool {
        match wire {
            Wire::Shared => self.shared.as_ref().is_some_and(|shared| shared.is_up),
            Wire::Tier => self.tier.is_up(),
        }
    }

    fn ask_shared(&mut self, ask: Ask, then: Then) {
        let id = self.number_of_its_own();
        if let Some(shared) = &mut self.shared {
            shared.asked.insert(id, then);
            self.acts.push(Act::Ask(Wire::Shared, id, ask));
        }
    }

    pub(super) fn ask_settings(&mut self, ask: Ask) {
        self.ask_shared(ask, Then::Settings);
    }

    pub(super) fn keep_in_touch(&mut self, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        if !shared.is_up {
            if !shared.connecting && shared.retry_ms <= now_ms {
                shared.connecting = true;
                self.acts.push(Act::Connect(Wire::Shared));
            }
        } else if shared.looked_ms + LOOK_EVERY_MS <= now_ms {
            shared.looked_ms = now_ms;
            self.refresh(now_ms);
            self.ask_shared(Ask::Beat, Then::Beat);
        }
        let Some(shared) = &self.shared else { return };
        let over = shared.untaken.iter().filter(|(_, until)| **until <= now_ms);
        for (stream, sequence) in over.map(|(report, _)| *report).collect::<Vec<_>>() {
            if let Some(shared) = &mut self.shared {
                shared.untaken.remove(&(stream, sequence));
            }
            self.report_taken(stream, sequence);
        }
    }

    pub(super) fn shared_is_up(&mut self, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        (shared.is_up, shared.connecting, shared.looked_ms) = (true, false, 0);
        // What nobody was told of meanwhile.
        let own = shared.own.values().map(|own| update(own, true, None, now_ms));
        let own: Vec<Waiting> = own.collect();
        shared.outgoing.extend(own);
        let (place, unseen) = (shared.places.journal, shared.written.unseen());
        self.ask_shared(Ask::Has(place, unseen), Then::Opened);
        self.write();
        self.keep_in_touch(now_ms);
    }

    pub(super) fn shared_is_down(&mut self, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        (shared.is_up, shared.connecting, shared.writing) = (false, false, false);
        shared.retry_ms = now_ms + PAUSE_MS;
        if shared.found.take().is_some() {
            // What it lacks is not put back yet.
            shared.places.journal = Fence::default();
        }
        let asked = std::mem::take(&mut shared.asked);
        if asked.values().any(|then| matches!(then, Then::Settings)) {
            self.settings_answered(None, now_ms);
        }
    }

    pub(super) fn shared_answered(&mut self, id: u64, answer: Answer, now_ms: u64) {
        let Some(then) = self.shared.as_mut().and_then(|shared| shared.asked.remove(&id)) else {
            return;
        };
        match (then, answer) {
            (Then::Settings, answer) => self.settings_answered(Some(answer), now_ms),
            (Then::Appended(count), Answer::Appended(ids)) => {
                if let Some(shared) = &mut self.shared {
                    ids.into_iter().for_each(|id| shared.written.written(id));
                }
                self.taken_off(count, now_ms);
            }
            (Then::Opened, Answer::Has(goes_on)) => {
                if let Some(shared) = &mut self.shared
                    && !goes_on
                {
                    // Of a new journal everything is read before what it lacks is put back.
                    shared.places.journal = Fence::default();
                    shared.found = Some(Journaled::default());
                    shared.written.forget();
                }
                self.read_on();
            }
            (Then::Read, Answer::Read(batch)) => self.heard(batch, now_ms),
            (Then::Beat, Answer::Alive(alive)) => {
                let me = self.number;
                self.fleet
                    .keep_connections_of(|replica| replica == me || alive.contains(&replica));
            }
            (then, answer) => unreachable!("{then:?} {answer:?}"),
        }
    }

    fn read_on(&mut self) {
        if let Some(shared) = &self.shared {
            let (places, unseen) = (shared.places, shared.written.unseen());
            self.ask_shared(Ask::Read(places, unseen), Then::Read);
        }
    }

    fn heard(&mut self, batch: Batch, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        batch.own.iter().for_each(|id| shared.written.read(*id));
        if !batch.goes_on || shared.written.is_one_lost(batch.places.journal) {
            self.give_wire_up(Wire::Shared, now_ms);
            return;
        }
        let facts: Vec<Fact> = batch
            .facts
            .iter()
            .map(|text| serde_json::from_str(text).expect("written by a replica"))
            .collect();
        let Some(shared) = &mut self.shared else { return };
        shared.places = batch.places;
        if let Some(found) = &mut shared.found {
            if facts.is_empty() {
                let found = std::mem::take(found);
                shared.found = None;
                self.put_back(&found, now_ms);
            } else {
                facts.iter().for_each(|fact| found.note(fact));
            }
        }
        if batch.version != self.agreeing.version() {
            self.refresh(now_ms);
        }
        for fact in facts {
            self.apply(fact, now_ms);
        }
        for update in &batch.updates {
            let envoy = control_domain::fleet::instance(&update.hello);
            let is_here = self
                .shared
                .as_ref()
                .is_some_and(|shared| shared.own.contains_key(&envoy));
            self.observe(update, is_here, now_ms);
        }
        self.read_on();
    }

    /// As in `replication/apply.rs`.
    fn apply(&mut self, fact: Fact, now_ms: u64) {
        match fact {
            Fact::PurgeAccepted { purge } => self.observe_accepted(purge, now_ms),
            Fact::PurgeApplied {
                id, envoy, at, round, ..
            } => drop(self.purging.log.applied_in(round, &id, &envoy, at, None)),
            Fact::PurgeReopened { id, round } => {
                self.purging.log.reopen_to(&id, round);
                self.links.reopened(&id);
                self.tell_all(&id, now_ms);
            }
            Fact::BreakerOverridden { entry } => self.observe_override(entry, now_ms),
            _ => {}
        }
    }

    /// What this replica knows and the journal does not.
    fn put_back(&mut self, found: &Journaled, now_ms: u64) {
        let purges = self.purging.log.oldest_first().cloned();
        let purges = purges.map(|purge| Fact::PurgeAccepted { purge });
        let overrides = self
            .breaker_overrides
            .log()
            .cloned()
            .map(|entry| Fact::BreakerOverridden { entry });
        let facts: Vec<Fact> = purges.chain(overrides).collect();
        for fact in found.lacks(facts) {
            self.publish(&fact, now_ms);
        }
    }

    /// Tells the others, without waiting.
    pub(super) fn publish(&mut self, fact: &Fact, _now_ms: u64) {
        if let Some(shared) = &mut self.shared {
            let text = serde_json::to_string(fact).expect("a fact is JSON");
            let entry = Entry::Fact(text.into());
            shared.outgoing.push_back(Waiting { entry, report: None });
            self.write();
        }
    }

    fn write(&mut self) {
        let Some(shared) = &mut self.shared else { return };
        if !shared.is_up || shared.writing || shared.outgoing.is_empty() {
            return;
        }
        shared.writing = true;
        let entries = shared.outgoing.iter().take(AT_ONCE);
        let entries: Vec<Entry> = entries.map(|waiting| waiting.entry.clone()).collect();
        let count = entries.len();
        self.ask_shared(Ask::Append(entries), Then::Appended(count));
    }

    fn taken_off(&mut self, count: usize, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        shared.writing = false;
        let taken: Vec<Waiting> = shared.outgoing.drain(..count.min(shared.outgoing.len())).collect();
        for report in taken.into_iter().filter_map(|waiting| waiting.report) {
            if let Some(shared) = &mut self.shared
                && shared.untaken.remove(&report).is_some()
            {
                self.report_taken(report.0, report.1);
            }
        }
        if self.shared.as_ref().is_some_and(|shared| shared.outgoing.is_empty()) {
            self.purges_are_published(now_ms);
        }
        self.write();
    }

    fn tell(&mut self, waiting: Waiting) {
        if let Some(shared) = &mut self.shared {
            shared.outgoing.push_back(waiting);
            self.write();
        }
    }

    pub(super) fn tell_connected(&mut self, envoy: &str, hello: &Hello, connection: ConnectionId, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        let own = Own {
            hello: hello.clone(),
            connection,
            ack: None,
        };
        let waiting = update(&own, true, None, now_ms);
        shared.own.insert(envoy.to_owned(), own);
        self.tell(waiting);
    }

    pub(super) fn tell_left(&mut self, envoy: &str, connection: ConnectionId, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        if shared.own.get(envoy).is_some_and(|own| own.connection == connection)
            && let Some(own) = shared.own.remove(envoy)
        {
            self.tell(update(&own, false, None, now_ms));
        }
    }

    pub(super) fn tell_acknowledged(&mut self, envoy: &str, ack: &SettingsAck, now_ms: u64) {
        let Some(shared) = &mut self.shared else { return };
        if let Some(own) = shared.own.get_mut(envoy) {
            own.ack = Some(ack.clone());
            let waiting = update(own, true, None, now_ms);
            self.tell(waiting);
        }
    }

    /// Shares a report; true when it is acknowledged later, as soon as the others can have it.
    pub(super) fn share_report(&mut self, stream: StreamId, envoy: &str, report: TelemetryReport, now_ms: u64) -> bool {
        let Some(shared) = &mut self.shared else { return false };
        let Some(own) = shared.own.get(envoy) else { return false };
        let number = (stream, report.sequence);
        let mut waiting = update(own, true, Some(report), now_ms);
        if shared.is_up {
            waiting.report = Some(number);
            shared.untaken.insert(number, now_ms + TAKEN_MS);
        }
        let waits = shared.is_up;
        self.tell(waiting);
        waits
    }

    /// The replica that an Envoy is connected to, as far as this one knows.
    pub(crate) fn holder_of(&self, envoy: &str) -> Option<u64> {
        let connection = self.fleet.get(envoy)?.connection?;
        Some(replica_of(connection))
    }
}

fn update(own: &Own, connected: bool, report: Option<TelemetryReport>, now_ms: u64) -> Waiting {
    let update = EnvoyUpdate {
        hello: own.hello.clone(),
        connection: own.connection,
        connected,
        at_ms: now_ms,
        ack: own.ack.clone(),
        report,
    };
    Waiting {
        entry: Entry::Update(Rc::new(update)),
        report: None,
    }
}
