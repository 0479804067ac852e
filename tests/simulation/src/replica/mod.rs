//! A replica of the control plane, or one that stands alone: its heart as it is shipped (fleet, purge log, settings history, what replicas
//! agree on and tell each other, overrides of breakers, the order of purges of the shared tier, checks of reports), in a shell that does with
//! streams, connections and time-outs what the rooms of `control-plane/src` do.

mod breakers;
mod commands;
mod link;
mod purges;
mod settings;
mod shared;
mod tier;

use crate::redis::{Answer, Ask};
use commands::Commands;
use control_domain::breakers::overrides::{BreakerOverride, BreakerOverrides};
use control_domain::fleet::{Fleet, REPLICA_BITS};
use control_domain::purges::PurgeLog;
use control_domain::settings::history::SettingsHistory;
use link::Links;
use optimizer_proto::settings::Settings;
use optimizer_proto::v1::TelemetryReport;
use optimizer_proto::v1::control_message::Body as ToFilter;
use purges::Purging;
use serde_json::Value;
use settings::Agreeing;
use shared::Shared;
use std::collections::BTreeMap;
use tier::Tier;

/// Between the numbers of two lives.
const LIVES: u64 = 10;

/// A stream, by a number that no other one has.
pub(crate) type StreamId = u64;
/// A call to the shared tier, likewise.
pub(crate) type CallId = u64;

/// The connections of a replica to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wire {
    /// For what replicas share.
    Shared,
    /// For the shared tier.
    Tier,
}

/// What a replica does to the world.
#[derive(Debug)]
pub(crate) enum Act {
    /// A message on a stream.
    Send(StreamId, Vec<u8>),
    /// The stream is ended.
    End(StreamId),
    /// The answer to a call of the shared tier; `None`: it cannot be given.
    Answer(CallId, Option<Vec<u8>>),
    /// It tries to connect.
    Connect(Wire),
    /// It gives a connection up.
    GiveUp(Wire),
    /// It asks Redis, by a number of its own.
    Ask(Wire, u64, Ask),
}

/// What happened that a property is about.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A receipt: this Envoy process has done this purge.
    Applied {
        envoy: String,
        purge: String,
        /// Nothing else is outstanding of the purge that could undo it there.
        settled: bool,
    },
    /// This Envoy process has a revision in force in all workers.
    InForce {
        envoy: String,
        epoch: String,
        revision: u64,
    },
    /// A report was merged.
    Merged(Box<TelemetryReport>),
    /// An Envoy was told that it has missed nothing; these purges it has not done.
    CaughtUp { envoy: String, lacks: Vec<String> },
    /// Settings came into force here.
    Published {
        epoch: String,
        revision: u64,
        document: Value,
    },
    /// An operator was told that a change is in force; the setting by its JSON pointer.
    Written {
        epoch: String,
        revision: u64,
        setting: &'static str,
        value: Value,
    },
    /// A purge is in the shared tier's order.
    TierPurged { purge: String },
    /// An operator has overridden a breaker.
    Overridden(Box<Overridden>),
}

/// An override of a breaker.
#[derive(Debug)]
pub(crate) struct Overridden {
    pub(crate) said: BreakerOverride,
    /// The one that the operator knew of.
    pub(crate) before: Option<BreakerOverride>,
    /// The last one that this replica knows now.
    pub(crate) last: Option<BreakerOverride>,
}

/// What outlives a crash.
#[derive(Debug, Clone)]
struct Disk {
    history: SettingsHistory,
    /// Revisions before the newest one, for a disk that loses it.
    older: Option<SettingsHistory>,
    log: PurgeLog,
    /// Receipts that are written and not on the disk for certain.
    loose: Vec<(String, String, u64)>,
    breaker_overrides: BreakerOverrides,
}

/// How a replica starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// With its disk; of the receipts that were not synchronised the first few are there.
    Kept(usize),
    /// With its disk, which lacks the newest revision.
    Older,
    /// With nothing.
    Empty,
}

/// Settings that a control plane has at first.
pub(crate) fn first_settings() -> Settings {
    let mut settings = Settings::default();
    settings.shared_tier.enabled = true;
    settings.shared_tier.coalesce = false;
    settings.shared_tier.deadline_ms = 200;
    settings.shared_tier.breaker_wait_ms = 500;
    settings
}

/// A running replica.
#[derive(Debug)]
pub(crate) struct Replica {
    number: u64,
    life: u64,
    next: u64,
    disk: Disk,
    /// The Envoys.
    pub(crate) fleet: Fleet,
    links: Links,
    commands: Commands,
    agreeing: Agreeing,
    purging: Purging,
    breaker_overrides: BreakerOverrides,
    renewed_ms: u64,
    tier: Tier,
    /// `None`: it stands alone.
    shared: Option<Shared>,
    acts: Vec<Act>,
    seen: Vec<Seen>,
}

impl Replica {
    /// One that starts for the first time.
    pub(crate) fn new(number: u64, shares: bool, now_ms: u64) -> Self {
        Self::from(number, 1, shares, None, now_ms)
    }

    fn from(number: u64, life: u64, shares: bool, disk: Option<Disk>, now_ms: u64) -> Self {
        let lost = disk.is_none();
        let disk = disk.unwrap_or_else(|| Disk {
            history: SettingsHistory::new(format!("epoch-{number}-{life}"), &first_settings(), now_ms),
            older: None,
            log: PurgeLog::default(),
            loose: Vec::new(),
            breaker_overrides: BreakerOverrides::default(),
        });
        let mut replica = Self {
            number,
            life,
            next: 0,
            fleet: Fleet::default(),
            links: Links::default(),
            commands: Commands::default(),
            agreeing: Agreeing::new(disk.history.clone(), lost, now_ms),
            purging: Purging::new(disk.log.clone()),
            breaker_overrides: disk.breaker_overrides.clone(),
            renewed_ms: now_ms,
            tier: Tier::new(shares, now_ms),
            shared: shares.then(Shared::default),
            acts: Vec::new(),
            seen: Vec::new(),
            disk,
        };
        let (epoch, revision, document) = replica.in_force();
        replica.seen.push(Seen::Published {
            epoch,
            revision,
            document,
        });
        replica
    }

    /// It was killed, and starts again.
    pub(crate) fn restarted(self, how: Restart, now_ms: u64) -> Self {
        let mut disk = self.disk;
        let loose = std::mem::take(&mut disk.loose);
        let kept = match how {
            Restart::Kept(kept) => kept,
            Restart::Older | Restart::Empty => usize::MAX,
        };
        for (id, envoy, at) in loose.into_iter().take(kept) {
            disk.log.applied(&id, &envoy, at, None);
        }
        if how == Restart::Older {
            disk.history = disk.older.take().unwrap_or(disk.history);
        }
        let disk = (how != Restart::Empty).then_some(disk);
        // Each process is a replica of its own: what the one before it wrote is to be read.
        Self::from(self.number + LIVES, self.life + 1, self.shared.is_some(), disk, now_ms)
    }

    /// What it wants done, and what happened.
    pub(crate) fn take(&mut self) -> (Vec<Act>, Vec<Seen>) {
        (std::mem::take(&mut self.acts), std::mem::take(&mut self.seen))
    }

    /// Which life of it this is.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Its number among the replicas.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The purges that it remembers.
    pub(crate) fn purges(&self) -> &PurgeLog {
        &self.purging.log
    }

    /// Overrides of breakers.
    pub(crate) fn breaker_overrides(&self) -> &BreakerOverrides {
        &self.breaker_overrides
    }

    /// Settings and their history.
    pub(crate) fn history(&self) -> &SettingsHistory {
        &self.agreeing.history
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.give_up(|asked| asked.deadline_ms <= now_ms, now_ms);
        self.keep_in_touch(now_ms);
        self.keep_recovering(now_ms);
        self.keep_tier(now_ms);
        self.keep_purging(now_ms);
        self.renew_overrides(now_ms);
    }

    /// A connection to Redis stands.
    pub(crate) fn connected(&mut self, wire: Wire, now_ms: u64) {
        match wire {
            Wire::Shared => self.shared_is_up(now_ms),
            Wire::Tier => self.tier_is_up(),
        }
    }

    /// A connection is lost, or did not come to stand: what was asked on it has no answer.
    pub(crate) fn lost(&mut self, wire: Wire, now_ms: u64) {
        match wire {
            Wire::Shared => self.shared_is_down(now_ms),
            Wire::Tier => self.tier_is_down(now_ms),
        }
    }

    /// Redis has answered.
    pub(crate) fn redis_answered(&mut self, wire: Wire, id: u64, answer: Answer, now_ms: u64) {
        match wire {
            Wire::Shared => self.shared_answered(id, answer, now_ms),
            Wire::Tier => self.tier_answered(id, answer, now_ms),
        }
    }

    fn give_wire_up(&mut self, wire: Wire, now_ms: u64) {
        self.acts.push(Act::GiveUp(wire));
        self.lost(wire, now_ms);
    }

    fn number_of_its_own(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn id(&mut self, kind: &str) -> String {
        let next = self.number_of_its_own();
        format!("{kind}-{}-{}-{next}", self.number, self.life)
    }

    /// A name for a connection, in the order of time over all replicas.
    fn connection_id(&mut self, now_ms: u64) -> u64 {
        let last = &mut self.links.last_connection_ms;
        *last = now_ms.max(*last + 1);
        *last << REPLICA_BITS | self.number
    }

    fn send(&mut self, stream: StreamId, body: ToFilter) {
        let bytes = prost::Message::encode_to_vec(&optimizer_proto::v1::ControlMessage { body: Some(body) });
        self.acts.push(Act::Send(stream, bytes));
    }
}

/// Questions by number, and what is done with their answers.
type Asked<T> = BTreeMap<u64, T>;
