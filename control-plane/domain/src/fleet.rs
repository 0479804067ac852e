//! The Envoys: who is there, what they run on, what they report.

pub mod clock_offset;
mod elsewhere;
mod envoy;
pub mod faults;
mod figures;

pub use elsewhere::EnvoyUpdate;
pub use envoy::{Envoy, Faults};

use crate::Millis;
use crate::telemetry::windows::{Span, Windows};
use crate::what_if;
use optimizer_proto::telemetry::delta;
use optimizer_proto::v1::{
    BreakerEvent, Hello, RequestSeries, SettingsAck, TelemetryDelta, TelemetryReport, Violation,
};
use std::collections::{BTreeMap, VecDeque};

/// How long a disconnected Envoy is remembered. Its gauges go when it disconnects, its counts after this.
pub const FORGOTTEN_AFTER_MS: u64 = 3_600_000;
/// An Envoy whose stream is gone but whose report is younger than this still counts as present.
const PRESENT_MS: u64 = 5_000;
/// Envoys remembered at most.
pub const MAX_ENVOYS: usize = 20_000;
/// Sampled keys followed of all Envoys together; in a large fleet fewer of each are enough. In one that is larger still no miss-ratio
/// curves are drawn.
const FOLLOWED_KEYS: usize = FOLLOWED * what_if::LEAST_KEYS;
const FOLLOWED: usize = 1_280;
/// Longest name of a node, a process or a history.
pub const MAX_NAME: usize = 256;
/// Longest version or capability, and how many of these.
pub const MAX_WORD: usize = 64;
/// Capabilities of a Hello.
pub const MAX_CAPABILITIES: usize = 64;
/// Violations kept of an acknowledgement, and the longest texts of each.
pub const MAX_VIOLATIONS: usize = 16;
/// Longest path of a violation.
pub const MAX_PATH: usize = 256;
/// Longest message of a violation.
pub const MAX_MESSAGE: usize = 512;
/// Breaker events remembered.
pub const MAX_EVENTS: usize = 1_000;

/// Identifies one connection of an Envoy: when it began, and at the end the number of the replica that holds it.
pub type ConnectionId = u64;
/// Bits of a replica's number.
pub const REPLICA_BITS: u32 = 20;

/// The number of the replica that holds a connection.
#[must_use]
pub fn replica_of(connection: ConnectionId) -> u64 {
    connection & ((1 << REPLICA_BITS) - 1)
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Merged.
    Merged,
    /// Seen before; not counted again.
    Duplicate,
    /// From an Envoy that has not sent a Hello.
    Stranger,
}

/// All Envoys, by the name of their process.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    envoys: BTreeMap<String, Envoy>,
    events: VecDeque<(String, BreakerEvent)>,
    /// All Envoys together, those forgotten since included.
    pub(crate) windows: Windows,
    pub(crate) totals: TelemetryDelta,
    reports: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Fleet {
    /// An Envoy connected.
    pub fn hello(&mut self, hello: &Hello, connection: ConnectionId, now_ms: Millis) {
        self.forget(now_ms);
        let name = instance(hello);
        let envoy = self.envoys.entry(name).or_default();
        envoy.node_id.clone_from(&hello.node_id);
        envoy.filter_version.clone_from(&hello.filter_version);
        envoy.module.clone_from(&hello.module);
        envoy.capabilities.clone_from(&hello.capabilities);
        envoy.started_ms = hello.started_at_ms;
        envoy.workers = hello.workers;
        envoy.connection = Some(connection);
        envoy.seen_ms = now_ms;
        envoy.reported_ms = now_ms;
    }

    /// The module of every filter that is connected, by node; of an Envoy that was restarted, the newest.
    #[must_use]
    pub fn modules(&self) -> BTreeMap<String, String> {
        let mut connected: Vec<&Envoy> = self
            .envoys
            .values()
            .filter(|envoy| envoy.connection.is_some())
            .collect();
        connected.sort_by_key(|envoy| envoy.connection);
        let pair = |envoy: &Envoy| (envoy.node_id.clone(), envoy.module.clone());
        connected.into_iter().map(pair).collect()
    }

    /// The same of one node.
    #[must_use]
    pub fn module_of(&self, node_id: &str) -> Option<&str> {
        let here = |envoy: &&Envoy| envoy.connection.is_some() && envoy.node_id == node_id;
        let newest = self.envoys.values().filter(here).max_by_key(|envoy| envoy.connection);
        newest.map(|envoy| envoy.module.as_str())
    }

    /// What of a Hello is longer than any Envoy makes it. Texts are kept as long as an Envoy is remembered, and there may be many.
    #[must_use]
    pub fn too_long(hello: &Hello) -> Option<&'static str> {
        let capabilities = &hello.capabilities;
        let long = |texts: &[String]| texts.iter().any(|text| text.len() > MAX_WORD);
        [
            ("node_id", hello.node_id.len() > MAX_NAME),
            ("instance_id", hello.instance_id.len() > MAX_NAME),
            ("epoch", hello.epoch.len() > MAX_NAME),
            ("filter_version", hello.filter_version.len() > MAX_WORD),
            ("module", hello.module.len() > MAX_WORD),
            (
                "capabilities",
                capabilities.len() > MAX_CAPABILITIES || long(capabilities),
            ),
        ]
        .into_iter()
        .find_map(|(field, is_long)| is_long.then_some(field))
    }

    /// Whether an Envoy is connected and was heard of a moment ago.
    #[must_use]
    pub fn is_reporting(&self, name: &str, now_ms: Millis) -> bool {
        let envoy = self.envoys.get(name).filter(|envoy| envoy.connection.is_some());
        envoy.is_some_and(|envoy| envoy.seen_ms.saturating_add(PRESENT_MS) > now_ms)
    }

    /// Another replica has an Envoy's Hello. An Envoy that has since connected here, or to a third replica, stays
    /// there.
    pub fn hello_elsewhere(&mut self, hello: &Hello, connection: ConnectionId, now_ms: Millis) {
        let present = self.get(&instance(hello)).and_then(|envoy| envoy.connection);
        if present.is_none_or(|present| present < connection) {
            self.hello(hello, connection, now_ms);
        }
    }

    /// The connections of replicas that are gone are gone with them.
    pub fn keep_connections_of(&mut self, alive: impl Fn(u64) -> bool) {
        for envoy in self.envoys.values_mut() {
            envoy.connection = envoy.connection.filter(|connection| alive(replica_of(*connection)));
        }
    }

    /// A connection ended. One that was replaced by a newer of the same Envoy changes nothing.
    pub fn gone(&mut self, name: &str, connection: ConnectionId) {
        if let Some(envoy) = self
            .envoys
            .get_mut(name)
            .filter(|envoy| envoy.connection == Some(connection))
        {
            envoy.connection = None;
            // Nothing of one that has said nothing but its name is worth remembering.
            if envoy.in_force.is_none() && envoy.refused.is_none() && envoy.sequences.newest() == 0 {
                self.envoys.remove(name);
            }
        }
    }

    /// An Envoy accepted or refused a revision.
    pub fn acknowledged(&mut self, name: &str, ack: &SettingsAck, now_ms: Millis) {
        let Some(envoy) = self.envoys.get_mut(name) else { return };
        envoy.seen_ms = now_ms;
        if ack.accepted {
            envoy.workers = ack.workers;
            envoy.in_force = Some((shortened(&ack.epoch, MAX_NAME), ack.revision));
            envoy.in_force_ms = now_ms;
            envoy.ignored = bounded(&ack.violations);
            envoy.refused = None;
        } else {
            envoy.refused = Some((ack.revision, bounded(&ack.violations)));
        }
    }

    /// An Envoy reported; the report has passed its checks. Its breaker gauges are still in the report.
    pub fn reported(&mut self, name: &str, report: &TelemetryReport, now_ms: Millis) -> Reported {
        let follows = self.envoys.len() <= FOLLOWED;
        let most = FOLLOWED_KEYS / self.envoys.len().max(1);
        let Some(envoy) = self.envoys.get_mut(name) else {
            return Reported::Stranger;
        };
        envoy.seen_ms = now_ms;
        envoy.reported_ms = now_ms;
        if !envoy.sequences.is_new(report.sequence) {
            envoy.faults.count("duplicate");
            *self.faults.entry("duplicate").or_default() += 1;
            return Reported::Duplicate;
        }
        self.reports += 1;
        // What came late says nothing about the present.
        if let Some(gauges) = report
            .gauges
            .as_ref()
            .filter(|_| report.sequence == envoy.sequences.newest())
        {
            envoy.workers = gauges.workers;
            envoy.gauges = gauges.clone();
        }
        let at_ms = envoy.arrival.place(report.closed_at_ms, now_ms);
        let span = Span {
            from_ms: at_ms.saturating_sub(report.span_ms),
            at_ms,
        };
        let Some(delta) = &report.delta else {
            return Reported::Merged;
        };
        if follows {
            let samples = delta.samples.as_ref();
            envoy.what_if.take(samples, delta.cache.as_ref(), most, now_ms);
        }
        for event in &delta.breaker_events {
            if self.events.len() >= MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back((envoy.node_id.clone(), event.clone()));
        }
        envoy.windows.add(delta, span);
        delta::merge_counts(&mut self.totals, delta);
        self.windows.add(delta, span);
        Reported::Merged
    }

    /// A report of a connected Envoy was refused: why, and where in it.
    pub fn refused_report(&mut self, name: &str, cause: &'static str, field: &str, now_ms: Millis) {
        *self.faults.entry(cause).or_default() += 1;
        if let Some(envoy) = self.envoys.get_mut(name) {
            envoy.faults.count(cause);
            envoy.faults.last = Some((field.to_owned(), now_ms));
        }
    }

    /// Reports merged, and those not merged by cause.
    #[must_use]
    pub fn reports(&self) -> (u64, &BTreeMap<&'static str, u64>) {
        (self.reports, &self.faults)
    }

    /// Requests since this control plane started, series by series.
    #[must_use]
    pub fn total_series(&self) -> &[RequestSeries] {
        &self.totals.requests
    }

    /// The node an Envoy runs as; empty when it is not known.
    #[must_use]
    pub fn node(&self, name: &str) -> &str {
        self.envoys.get(name).map_or("", |envoy| envoy.node_id.as_str())
    }

    /// One Envoy, by the name of its process.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Envoy> {
        self.envoys.get(name)
    }

    /// All Envoys remembered, by the name of their process.
    pub fn envoys(&self) -> impl Iterator<Item = (&str, &Envoy)> {
        self.envoys.iter().map(|(name, envoy)| (name.as_str(), envoy))
    }

    /// Envoys that are there now.
    pub fn present(&self, now_ms: Millis) -> impl Iterator<Item = (&str, &Envoy)> {
        self.envoys().filter(move |(_, envoy)| envoy.is_present(now_ms))
    }

    /// Envoys connected whose workers do not all run on this revision yet.
    #[must_use]
    pub fn stragglers(&self, epoch: &str, revision: u64) -> Vec<String> {
        self.envoys
            .iter()
            .filter(|(_, envoy)| envoy.connection.is_some() && !envoy.runs_on(epoch, revision))
            .map(|(name, envoy)| envoy.title(name).to_owned())
            .collect()
    }

    /// Of these Envoys, the connected ones whose workers do not all run on this revision yet: which have rejected it,
    /// and which have not answered.
    #[must_use]
    pub fn rollout_status<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        epoch: &str,
        revision: u64,
    ) -> RolloutStatus {
        let mut rollout_status = RolloutStatus::default();
        for name in names {
            let Some(envoy) = self.envoys.get(name).filter(|envoy| envoy.connection.is_some()) else {
                continue;
            };
            if envoy.runs_on(epoch, revision) {
                continue;
            }
            let title = envoy.title(name).to_owned();
            match &envoy.refused {
                Some((_, why)) if envoy.refuses(revision) => rollout_status.refused.push((title, why.clone())),
                _ => rollout_status.late.push(title),
            }
        }
        rollout_status
    }

    /// Whether one of these Envoys is connected and has neither taken this revision into force in all its workers nor rejected it.
    #[must_use]
    pub fn awaits_any<'a>(&self, mut names: impl Iterator<Item = &'a str>, epoch: &str, revision: u64) -> bool {
        names.any(|name| {
            let envoy = self.envoys.get(name).filter(|envoy| envoy.connection.is_some());
            envoy.is_some_and(|envoy| !envoy.runs_on(epoch, revision) && !envoy.refuses(revision))
        })
    }

    /// Breaker transitions, newest last: node and event.
    pub fn events(&self) -> impl Iterator<Item = &(String, BreakerEvent)> {
        self.events.iter()
    }

    fn forget(&mut self, now_ms: Millis) {
        self.envoys
            .retain(|_, envoy| envoy.connection.is_some() || envoy.seen_ms.saturating_add(FORGOTTEN_AFTER_MS) > now_ms);
        while self.envoys.len() >= MAX_ENVOYS {
            let oldest = self
                .envoys
                .iter()
                .min_by_key(|(_, envoy)| envoy.seen_ms)
                .map(|(name, _)| name.clone());
            match oldest {
                Some(name) => drop(self.envoys.remove(&name)),
                None => break,
            }
        }
    }
}

/// Who does not run on a revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutStatus {
    /// No answer yet.
    pub late: Vec<String>,
    /// Refused it, with the reasons.
    pub refused: Vec<(String, Vec<Violation>)>,
}

/// The name of an Envoy process: its own, else its node's.
#[must_use]
pub fn instance(hello: &Hello) -> String {
    if hello.instance_id.is_empty() {
        hello.node_id.clone()
    } else {
        hello.instance_id.clone()
    }
}

/// The violations that an Envoy reports, as many and as long as are stored.
fn bounded(violations: &[Violation]) -> Vec<Violation> {
    let first = violations.iter().take(MAX_VIOLATIONS).map(|found| Violation {
        path: shortened(&found.path, MAX_PATH),
        code: shortened(&found.code, MAX_WORD),
        message: shortened(&found.message, MAX_MESSAGE),
    });
    first.collect()
}

/// The beginning of a text, at most this many bytes.
fn shortened(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod bounds;

#[cfg(test)]
mod tests;
