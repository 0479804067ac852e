//! The control plane: its heart as it is shipped (fleet, purge log, settings history, checks of reports), in a shell that does with streams
//! and time-outs what `control-plane/src/{purges/service,fleet/streams}.rs` and `transport/grpc/control_link.rs` do.

use control_domain::book::{Author, Revision, SettingsHistory};
use control_domain::change::Change;
use control_domain::fleet::{Envoy, Fleet, Reported, instance};
use control_domain::purges::{Purge, PurgeLog, Target};
use optimizer_proto::settings::Settings;
use optimizer_proto::telemetry::check_report;
use optimizer_proto::v1::command::Body as CommandBody;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{
    CaughtUp, Command, CommandResult, ControlMessage, FilterMessage, Hello, PurgeCommand, SettingsAck, SettingsPush,
    TelemetryAck, TelemetryReport, Welcome,
};
use prost::Message;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A stream, by a number that no other one has.
pub type StreamId = u64;

/// An Envoy gets so long to have a purge in force in all its workers.
const ANSWER_MS: u64 = 12_000;
/// A purge younger than this is still on its way.
const ON_ITS_WAY_MS: u64 = 15_000;

/// What the control plane does to the world.
#[derive(Debug)]
pub enum Act {
    /// A message on a stream.
    Send(StreamId, Vec<u8>),
    /// The stream is ended.
    End(StreamId),
}

/// What happened that a property is about.
#[derive(Debug)]
pub enum Fact {
    /// A receipt: this Envoy process has done this purge.
    Applied {
        /// Its instance id.
        envoy: String,
        /// The purge's id.
        purge: String,
    },
    /// This Envoy process has a revision in force in all workers.
    InForce {
        /// Its instance id.
        envoy: String,
        /// The history.
        epoch: String,
        /// The revision.
        revision: u64,
    },
    /// A report was merged.
    Merged(Box<TelemetryReport>),
    /// An Envoy was told that it has missed nothing; these purges it has not done.
    CaughtUp {
        /// Its instance id.
        envoy: String,
        /// What it lacks of what was accepted before its stream began.
        lacks: Vec<String>,
    },
}

/// What outlives a crash.
#[derive(Debug, Clone)]
struct Disk {
    epoch: String,
    revisions: Vec<Revision>,
    log: PurgeLog,
    /// Receipts that are written and not on the disk for certain.
    loose: Vec<(String, String, u64)>,
}

#[derive(Debug)]
struct Connection {
    envoy: String,
    number: u64,
    since_ms: u64,
    sent: (String, u64),
}

/// A command under way.
#[derive(Debug)]
struct Asked {
    envoy: String,
    /// With this stream the answer is lost.
    over: StreamId,
    deadline_ms: u64,
    task: Task,
}

#[derive(Debug)]
enum Task {
    /// One purge to one Envoy.
    Tell(Box<Purge>),
    /// What it missed, one after the other; the first is under way. `None`: everything is purged before.
    CatchUp {
        stream: StreamId,
        under_way: Option<Box<Purge>>,
        rest: VecDeque<Purge>,
    },
}

/// A running control plane.
#[derive(Debug)]
pub struct Control {
    disk: Disk,
    book: SettingsHistory,
    /// The Envoys.
    pub fleet: Fleet,
    log: PurgeLog,
    streams: BTreeMap<StreamId, Connection>,
    by_envoy: BTreeMap<String, StreamId>,
    waiting: BTreeMap<String, Asked>,
    /// Streams over which an Envoy is being told what it missed.
    telling: BTreeSet<StreamId>,
    life: u64,
    next: u64,
    acts: Vec<Act>,
    facts: Vec<Fact>,
}

impl Control {
    /// A control plane that starts for the first time.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let book = SettingsHistory::new("epoch".to_owned(), &Settings::default(), now_ms);
        let disk = Disk {
            epoch: book.epoch().to_owned(),
            revisions: book.revisions().cloned().collect(),
            log: PurgeLog::default(),
            loose: Vec::new(),
        };
        Self::from(disk, book, PurgeLog::default(), 1)
    }

    fn from(disk: Disk, book: SettingsHistory, log: PurgeLog, life: u64) -> Self {
        Self {
            disk,
            book,
            fleet: Fleet::default(),
            log,
            streams: BTreeMap::new(),
            by_envoy: BTreeMap::new(),
            waiting: BTreeMap::new(),
            telling: BTreeSet::new(),
            life,
            next: 0,
            acts: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// What is left after a crash: what was on the disk, and of the receipts that were not synchronised the first few.
    ///
    /// # Panics
    /// The history on the disk is not one.
    #[must_use]
    pub fn crashed(self, receipts_kept: usize) -> Self {
        let mut disk = self.disk;
        for (id, envoy, at) in disk.loose.drain(..).take(receipts_kept) {
            disk.log.applied(&id, &envoy, at, None);
        }
        let book = SettingsHistory::restored(disk.epoch.clone(), disk.revisions.clone()).expect("a history in order");
        let log = disk.log.clone();
        Self::from(disk, book, log, self.life + 1)
    }

    /// What it wants done, and what happened.
    pub fn take(&mut self) -> (Vec<Act>, Vec<Fact>) {
        (std::mem::take(&mut self.acts), std::mem::take(&mut self.facts))
    }

    /// Which life of it this is.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// The revision in force.
    #[must_use]
    pub fn revision(&self) -> (String, u64) {
        (self.book.epoch().to_owned(), self.book.present().number)
    }

    /// An operator changes the settings; the revision, once it is kept.
    pub fn change(&mut self, ttl_s: u64, now_ms: u64) -> Option<u64> {
        let change = Change::Merge(json!({"default_ttl": format!("{ttl_s}s")}));
        let proposed = self.book.propose(&change, None, Author::default(), now_ms).ok()?;
        if proposed.changed {
            self.disk.revisions.push(proposed.revision.clone());
            self.book.accept(proposed.revision);
            self.push_to_all();
        }
        Some(self.book.present().number)
    }

    /// An operator purges; its id.
    pub fn purge(&mut self, target: Target, now_ms: u64) -> String {
        let id = self.id("purge");
        let purge = Purge {
            id: id.clone(),
            at: now_ms,
            by: String::new(),
            reason: String::new(),
            targets: vec![target],
            soft: false,
            idempotency_key: None,
            applied: BTreeMap::new(),
            matched: BTreeMap::new(),
            awaited: BTreeSet::new(),
        };
        let there: Vec<String> = self.fleet.present(now_ms).map(|(name, _)| name.to_owned()).collect();
        let purge = purge.awaiting(there.iter().map(String::as_str));
        let _ = self.log.accept(purge.clone());
        // Written down before it is sent.
        let _ = self.disk.log.accept(purge.clone());
        for envoy in self.by_envoy.keys().cloned().collect::<Vec<_>>() {
            self.tell(&envoy, purge.clone(), now_ms);
        }
        id
    }

    /// Purges that an Envoy process has yet to do; everything when it is `None`.
    #[must_use]
    pub fn missing(&self, envoy: &str) -> Option<Vec<Purge>> {
        self.log.missing(envoy, self.started_ms(envoy))
    }

    /// Envoys whose stream is open.
    #[must_use]
    pub fn connected(&self) -> Vec<String> {
        self.by_envoy.keys().cloned().collect()
    }

    /// Commands under way, as somebody who guesses them would name them.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.waiting.keys().cloned().collect()
    }

    /// A message from an Envoy, or from somebody who says to be one.
    pub fn message(&mut self, stream: StreamId, bytes: &[u8], now_ms: u64) {
        let Ok(FilterMessage { body: Some(body) }) = FilterMessage::decode(bytes) else {
            return;
        };
        let known = self.streams.get(&stream).map(|connection| connection.envoy.clone());
        match (known, body) {
            (None, FromFilter::Hello(hello)) => self.hello(stream, &hello, now_ms),
            (None, _) => self.acts.push(Act::End(stream)),
            (Some(envoy), FromFilter::SettingsAck(ack)) => self.acknowledged(stream, envoy, &ack, now_ms),
            (Some(envoy), FromFilter::Telemetry(report)) => self.reported(stream, &envoy, report, now_ms),
            (Some(envoy), FromFilter::CommandResult(result)) => self.answered(&envoy, &result, now_ms),
            (Some(_), FromFilter::Hello(_)) => {}
        }
    }

    /// A stream ended.
    pub fn closed(&mut self, stream: StreamId, now_ms: u64) {
        if let Some(connection) = self.streams.remove(&stream) {
            if self.by_envoy.get(&connection.envoy) == Some(&stream) {
                self.by_envoy.remove(&connection.envoy);
            }
            self.fleet.gone(&connection.envoy, connection.number);
        }
        self.give_up(|asked| asked.over == stream, now_ms);
    }

    /// Time passes: commands that nobody answers are given up.
    pub fn tick(&mut self, now_ms: u64) {
        self.give_up(|asked| asked.deadline_ms <= now_ms, now_ms);
    }

    fn give_up(&mut self, is_over: impl Fn(&Asked) -> bool, now_ms: u64) {
        let over = self.waiting.iter().filter(|(_, asked)| is_over(asked));
        for id in over.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            if let Some(asked) = self.waiting.remove(&id) {
                self.done(asked, false, now_ms);
            }
        }
    }

    /// Tries again with connected Envoys that did not answer.
    pub fn watch_late(&mut self, now_ms: u64) {
        let before = now_ms.saturating_sub(ON_ITS_WAY_MS);
        for envoy in self.connected() {
            let missing = self.missing(&envoy);
            if missing.is_none_or(|missing| missing.iter().any(|purge| purge.at < before)) {
                self.catch_up(&envoy, now_ms);
            }
        }
    }

    fn id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{}-{}", self.life, self.next)
    }

    fn started_ms(&self, envoy: &str) -> u64 {
        self.fleet.get(envoy).map_or(0, |envoy| envoy.started_ms)
    }

    fn send(&mut self, stream: StreamId, body: ToFilter) {
        self.acts
            .push(Act::Send(stream, ControlMessage { body: Some(body) }.encode_to_vec()));
    }

    /// A proof is a name nobody else is given.
    fn proof(envoy: &str) -> Vec<u8> {
        format!("proof of {envoy}").into_bytes()
    }

    fn hello(&mut self, stream: StreamId, hello: &Hello, now_ms: u64) {
        let envoy = instance(hello);
        let answered = self.fleet.get(&envoy).is_some_and(Envoy::has_answered);
        let known = answered || self.fleet.is_reporting(&envoy, now_ms) || self.log.knows(&envoy);
        if known && hello.proof != Self::proof(&envoy) {
            self.acts.push(Act::End(stream));
            return;
        }
        self.next += 1;
        let number = self.life << 32 | self.next;
        self.fleet.hello(hello, number, now_ms);
        if hello.epoch == self.book.epoch() && hello.revision > self.book.present().number {
            self.book.reissue(hello.revision, Author::default(), now_ms);
            self.disk.revisions.push(self.book.present().clone());
            self.push_to_all();
        }
        let connection = Connection {
            envoy: envoy.clone(),
            number,
            since_ms: now_ms,
            sent: (String::new(), 0),
        };
        self.streams.insert(stream, connection);
        // One Envoy, one stream: which of two is the abandoned one is not known, so whoever had one opens another.
        if let Some(before) = self.by_envoy.insert(envoy.clone(), stream) {
            self.streams.remove(&before);
            self.acts.push(Act::End(before));
        }
        let welcome = Welcome {
            control_plane_id: format!("control-{}", self.life),
            protocol: optimizer_proto::PROTOCOL,
            key_secret: vec![7; 32],
            proof: Self::proof(&envoy),
        };
        self.send(stream, ToFilter::Welcome(welcome));
        self.push(stream);
        self.catch_up(&envoy, now_ms);
    }

    fn push(&mut self, stream: StreamId) {
        let present = self.book.present();
        let push = SettingsPush {
            revision: present.number,
            document: present.document.to_string().into_bytes(),
            epoch: self.book.epoch().to_owned(),
        };
        if let Some(connection) = self.streams.get_mut(&stream) {
            connection.sent = (push.epoch.clone(), push.revision);
            self.send(stream, ToFilter::Settings(push));
        }
    }

    fn push_to_all(&mut self) {
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            self.push(stream);
        }
    }

    fn acknowledged(&mut self, stream: StreamId, envoy: String, ack: &SettingsAck, now_ms: u64) {
        let sent = self.streams.get(&stream).map(|connection| connection.sent.clone());
        let newest = sent
            .filter(|(epoch, _)| *epoch == ack.epoch)
            .map_or(0, |(_, revision)| revision);
        if ack.epoch == self.book.epoch() && ack.revision > newest {
            return;
        }
        self.fleet.acknowledged(&envoy, ack, now_ms);
        if ack.accepted {
            self.facts.push(Fact::InForce {
                envoy,
                epoch: ack.epoch.clone(),
                revision: ack.revision,
            });
        }
    }

    fn reported(&mut self, stream: StreamId, envoy: &str, report: TelemetryReport, now_ms: u64) {
        let sequence = report.sequence;
        let sound = check_report(&report, now_ms).is_ok() && report.instance_id == envoy;
        if sound && self.fleet.reported(envoy, &report, now_ms) == Reported::Merged {
            self.facts.push(Fact::Merged(Box::new(report)));
        }
        self.send(stream, ToFilter::TelemetryAck(TelemetryAck { sequence }));
    }

    fn answered(&mut self, envoy: &str, result: &CommandResult, now_ms: u64) {
        if self.waiting.get(&result.id).is_none_or(|asked| asked.envoy != envoy) {
            return;
        }
        if let Some(asked) = self.waiting.remove(&result.id) {
            self.done(asked, result.ok, now_ms);
        }
    }

    /// Asks the newest stream of an Envoy; without one, or when it does not take it, that is no answer.
    fn ask(&mut self, envoy: &str, command: PurgeCommand, task: Task, now_ms: u64) {
        let id = self.id("command");
        let stream = self.by_envoy.get(envoy).copied();
        let asked = Asked {
            envoy: envoy.to_owned(),
            over: stream.unwrap_or_default(),
            deadline_ms: now_ms + ANSWER_MS,
            task,
        };
        let Some(stream) = stream else {
            self.done(asked, false, now_ms);
            return;
        };
        self.waiting.insert(id.clone(), asked);
        let body = Some(CommandBody::Purge(command));
        self.send(stream, ToFilter::Command(Command { id, body }));
    }

    fn tell(&mut self, envoy: &str, purge: Purge, now_ms: u64) {
        let command = command_of(&purge);
        self.ask(envoy, command, Task::Tell(Box::new(purge)), now_ms);
    }

    fn catch_up(&mut self, envoy: &str, now_ms: u64) {
        let Some(stream) = self.by_envoy.get(envoy).copied() else {
            return;
        };
        if !self.telling.insert(stream) {
            return;
        }
        let missing = self.missing(envoy);
        let everything = missing.is_none();
        let rest = missing.unwrap_or_else(|| self.log.all().cloned().collect());
        let (rest, under_way) = (rest.into(), None);
        if everything {
            let task = Task::CatchUp {
                stream,
                under_way,
                rest,
            };
            self.ask(envoy, Target::All.command(false), task, now_ms);
        } else {
            self.go_on(envoy, stream, rest, now_ms);
        }
    }

    fn go_on(&mut self, envoy: &str, stream: StreamId, mut rest: VecDeque<Purge>, now_ms: u64) {
        if let Some(next) = rest.pop_front() {
            let command = command_of(&next);
            let task = Task::CatchUp {
                stream,
                under_way: Some(Box::new(next)),
                rest,
            };
            self.ask(envoy, command, task, now_ms);
            return;
        }
        self.end_catch_up(envoy, stream, true);
    }

    /// What was told, was told on one stream: one that has come since is told for itself.
    fn end_catch_up(&mut self, envoy: &str, stream: StreamId, told: bool) {
        self.telling.remove(&stream);
        if !told || !self.streams.contains_key(&stream) {
            return;
        }
        let since_ms = self.streams.get(&stream).map_or(0, |connection| connection.since_ms);
        let missing = self.missing(envoy).unwrap_or_default().into_iter();
        let lacks = missing.filter(|purge| purge.at < since_ms).map(|purge| purge.id);
        self.facts.push(Fact::CaughtUp {
            envoy: envoy.to_owned(),
            lacks: lacks.collect(),
        });
        self.send(stream, ToFilter::CaughtUp(CaughtUp {}));
    }

    fn done(&mut self, asked: Asked, ok: bool, now_ms: u64) {
        let envoy = asked.envoy;
        match asked.task {
            Task::Tell(purge) => {
                if ok {
                    self.note_applied(&purge.id, &envoy, now_ms);
                }
            }
            Task::CatchUp {
                stream,
                under_way,
                rest,
            } => {
                if !ok {
                    self.end_catch_up(&envoy, stream, false);
                    return;
                }
                if let Some(purge) = under_way {
                    self.note_applied(&purge.id, &envoy, now_ms);
                }
                self.go_on(&envoy, stream, rest, now_ms);
            }
        }
    }

    fn note_applied(&mut self, id: &str, envoy: &str, now_ms: u64) {
        self.log.applied(id, envoy, now_ms, None);
        self.disk.loose.push((id.to_owned(), envoy.to_owned(), now_ms));
        self.facts.push(Fact::Applied {
            envoy: envoy.to_owned(),
            purge: id.to_owned(),
        });
    }
}

fn command_of(purge: &Purge) -> PurgeCommand {
    let target = purge.targets.first().unwrap_or(&Target::All);
    target.command(purge.soft)
}
