//! Purges on their way, as in `purges/service.rs`.

use super::commands::Task;
use super::{Replica, Seen, StreamId};
use control_domain::purges::{Purge, PurgeLog, Target};
use control_domain::replication::Fact;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::{CaughtUp, PurgeCommand};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A purge younger than this is still on its way.
const ON_ITS_WAY_MS: u64 = 15_000;
/// A purge of another replica that is older is not sent at once.
const FRESH_MS: u64 = 30_000;
/// A tier that cannot record a purge is tried again after this.
const TIER_RETRY_MS: u64 = 1_000;
/// For so long it is waited for that a purge is in the journal.
const PUBLISHED_MS: u64 = 1_000;
/// A purge that is younger is being recorded by whoever accepted it.
const BEING_RECORDED_MS: u64 = 2_000;

/// Where an accepted purge stands on its way to the Envoys.
#[derive(Debug)]
enum Stage {
    /// The tier is to record it, before anybody else is told.
    Tier,
    /// The other replicas are to know of it; not waited for after this time.
    Publish { until_ms: u64 },
}

/// The purges.
#[derive(Debug)]
pub(super) struct Purging {
    pub(super) log: PurgeLog,
    on_their_way: BTreeMap<String, Stage>,
    /// Purges that the tier is asked to record late.
    asked_late: BTreeSet<String>,
    looked_ms: u64,
    /// Streams over which an Envoy is being told what it missed.
    pub(super) telling: BTreeSet<StreamId>,
}

impl Purging {
    pub(super) fn new(log: PurgeLog) -> Self {
        Self {
            log,
            on_their_way: BTreeMap::new(),
            asked_late: BTreeSet::new(),
            looked_ms: 0,
            telling: BTreeSet::new(),
        }
    }
}

impl Replica {
    /// An operator purges; the purge's id.
    pub(crate) fn purge(&mut self, target: Target, now_ms: u64) -> String {
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
            unrecorded: true,
            round: 0,
        };
        let there: Vec<String> = self.fleet.present(now_ms).map(|(name, _)| name.to_owned()).collect();
        let purge = purge.awaiting(there.iter().map(String::as_str));
        let _ = self.purging.log.accept(purge.clone());
        // Written down before it is sent.
        let _ = self.disk.log.accept(purge.clone());
        self.purging.on_their_way.insert(id.clone(), Stage::Tier);
        self.record_in_tier(&purge, now_ms);
        id
    }

    /// The tier has recorded a purge, or could not.
    pub(super) fn tier_recorded(&mut self, id: &str, done: bool, now_ms: u64) {
        if done {
            self.seen.push(Seen::TierPurged { purge: id.to_owned() });
        }
        if self.purging.asked_late.remove(id) {
            self.recorded_late(id, done, now_ms);
            return;
        }
        if done {
            self.purging.log.recorded(id);
            self.disk.log.recorded(id);
        }
        if self.shared.is_none() {
            self.tell_at_last(id, now_ms);
            return;
        }
        let until_ms = now_ms + PUBLISHED_MS;
        self.purging
            .on_their_way
            .insert(id.to_owned(), Stage::Publish { until_ms });
        if let Some(purge) = self.purging.log.get(id).cloned() {
            self.publish(&Fact::PurgeAccepted { purge }, now_ms);
        }
    }

    /// What the tier could not record at first it has recorded now: all Envoys do it once more.
    fn recorded_late(&mut self, id: &str, done: bool, now_ms: u64) {
        if !done {
            return;
        }
        if self.purging.log.get(id).is_some_and(|purge| purge.unrecorded) {
            let (round, id) = (self.purging.log.reopen(id), id.to_owned());
            self.disk.log.reopen(&id);
            self.links.reopened(&id);
            self.disk.loose.retain(|(purge, ..)| *purge != id);
            self.publish(&Fact::PurgeReopened { id, round }, now_ms);
        }
        self.tell_all(id, now_ms);
    }

    /// Everything the journal was told so far is in it.
    pub(super) fn purges_are_published(&mut self, now_ms: u64) {
        self.end_waits(|_| true, now_ms);
    }

    /// Time passes.
    pub(super) fn keep_purging(&mut self, now_ms: u64) {
        self.end_waits(|until_ms| until_ms <= now_ms, now_ms);
        if self.purging.looked_ms + TIER_RETRY_MS > now_ms {
            return;
        }
        self.purging.looked_ms = now_ms;
        let before = now_ms.saturating_sub(BEING_RECORDED_MS);
        let late = self.purging.log.unrecorded().filter(|purge| purge.at < before);
        for purge in late.cloned().collect::<Vec<_>>() {
            if self.purging.asked_late.insert(purge.id.clone()) {
                self.record_in_tier(&purge, now_ms);
            }
        }
    }

    fn end_waits(&mut self, is_over: impl Fn(u64) -> bool, now_ms: u64) {
        let over = |stage: &Stage| matches!(stage, Stage::Publish { until_ms } if is_over(*until_ms));
        let over = self.purging.on_their_way.iter().filter(|(_, stage)| over(stage));
        for id in over.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.tell_at_last(&id, now_ms);
        }
    }

    fn tell_at_last(&mut self, id: &str, now_ms: u64) {
        self.purging.on_their_way.remove(id);
        self.tell_all(id, now_ms);
    }

    pub(super) fn tell_all(&mut self, id: &str, now_ms: u64) {
        let Some(purge) = self.purging.log.get(id).cloned() else {
            return;
        };
        for envoy in self.links.by_envoy.keys().cloned().collect::<Vec<_>>() {
            if !purge.applied.contains_key(&envoy) {
                let task = Task::Tell(Box::new(purge.clone()));
                self.ask_envoy(&envoy, Body::Purge(command_of(&purge)), task, now_ms);
            }
        }
    }

    /// Another replica has accepted a purge.
    pub(super) fn observe_accepted(&mut self, purge: Purge, now_ms: u64) {
        if self.purging.log.accept(purge.clone()).is_err() {
            self.links.reopened(&purge.id);
            self.purging.log.learn(&purge);
            return;
        }
        let _ = self.disk.log.accept(purge.clone());
        if purge.at.saturating_add(FRESH_MS) > now_ms {
            self.tell_all(&purge.id, now_ms);
        }
    }

    /// Purges that an Envoy process has yet to do; everything when it is `None`.
    pub(crate) fn missing(&self, envoy: &str) -> Option<Vec<Purge>> {
        let started_ms = self.fleet.get(envoy).map_or(0, |envoy| envoy.started_ms);
        self.purging.log.missing(envoy, started_ms)
    }

    /// Tries again with connected Envoys that did not answer.
    pub(crate) fn watch_late(&mut self, now_ms: u64) {
        let before = now_ms.saturating_sub(ON_ITS_WAY_MS);
        for envoy in self.connected_envoys() {
            let missing = self.missing(&envoy);
            if missing.is_none_or(|missing| missing.iter().any(|purge| purge.at < before)) {
                self.replay_missed(&envoy, now_ms);
            }
        }
    }

    pub(super) fn replay_missed(&mut self, envoy: &str, now_ms: u64) {
        let Some(stream) = self.links.by_envoy.get(envoy).copied() else {
            return;
        };
        if !self.purging.telling.insert(stream) {
            return;
        }
        let missing = self.missing(envoy);
        let everything = missing.is_none();
        let rest = missing.unwrap_or_else(|| self.purging.log.all().cloned().collect());
        let (rest, under_way) = (rest.into(), None);
        if everything {
            let task = Task::CatchUp {
                stream,
                under_way,
                rest,
            };
            self.ask_envoy(envoy, Body::Purge(Target::All.command(false)), task, now_ms);
        } else {
            self.go_on(envoy, stream, rest, now_ms);
        }
    }

    pub(super) fn go_on(&mut self, envoy: &str, stream: StreamId, mut rest: VecDeque<Purge>, now_ms: u64) {
        if let Some(next) = rest.pop_front() {
            let command = command_of(&next);
            let task = Task::CatchUp {
                stream,
                under_way: Some(Box::new(next)),
                rest,
            };
            self.ask_envoy(envoy, Body::Purge(command), task, now_ms);
            return;
        }
        self.end_catch_up(envoy, stream, true);
    }

    /// What was told, was told on one stream: one that has come since is told for itself.
    pub(super) fn end_catch_up(&mut self, envoy: &str, stream: StreamId, told: bool) {
        self.purging.telling.remove(&stream);
        let Some(at_first) = self.links.missing_at_first(stream).filter(|_| told) else {
            return;
        };
        let missing = self.missing(envoy).unwrap_or_default().into_iter();
        let lacks = missing.map(|purge| purge.id).filter(|id| at_first.contains(id));
        let lacks = lacks.collect();
        self.seen.push(Seen::CaughtUp {
            envoy: envoy.to_owned(),
            lacks,
        });
        self.send(stream, ToFilter::CaughtUp(CaughtUp {}));
    }

    pub(super) fn note_applied(&mut self, purge: &Purge, envoy: &str, now_ms: u64) {
        let (id, round) = (purge.id.clone(), purge.round);
        if !self.purging.log.applied_in(round, &id, envoy, now_ms, None) {
            return;
        }
        self.disk.loose.push((id.clone(), envoy.to_owned(), now_ms));
        self.seen.push(Seen::Applied {
            envoy: envoy.to_owned(),
            purge: id.clone(),
            settled: self.purging.log.get(&id).is_none_or(|purge| !purge.unrecorded),
        });
        let fact = Fact::PurgeApplied {
            id,
            envoy: envoy.to_owned(),
            at: now_ms,
            matched: None,
            round,
        };
        self.publish(&fact, now_ms);
    }
}

fn command_of(purge: &Purge) -> PurgeCommand {
    let target = purge.targets.first().unwrap_or(&Target::All);
    target.command(purge.soft)
}
