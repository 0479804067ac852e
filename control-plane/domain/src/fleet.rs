//! The Envoys: who is there, what they run on, what they report.

use crate::Millis;
use crate::what_if::WhatIf;
use crate::windows::{Filter, Sum, Windows};
use optimizer_proto::v1::{BreakerEvent, FilterGauges, Hello, SettingsAck, TelemetryReport, Violation};
use std::collections::{BTreeMap, VecDeque};

/// An Envoy not heard of for so long is forgotten: its gauges at once when it goes, its counts after this.
pub const FORGOTTEN_AFTER_MS: u64 = 3_600_000;
/// An Envoy whose stream is gone but whose report is younger than this still counts as present.
const PRESENT_MS: u64 = 5_000;
/// Envoys remembered at most.
const MAX_ENVOYS: usize = 20_000;
/// In a larger fleet no miss-ratio curves are drawn: half a megabyte each.
const FOLLOWED: usize = 256;
/// Breaker events remembered.
const MAX_EVENTS: usize = 1_000;

/// Identifies one connection of an Envoy.
pub type ConnectionId = u64;

/// One Envoy process.
#[derive(Debug, Clone, Default)]
pub struct Envoy {
    /// Its `node.id`.
    pub node_id: String,
    /// Version of its filter.
    pub filter_version: String,
    /// What its filter can do.
    pub capabilities: Vec<String>,
    /// VMs in it.
    pub workers: u32,
    /// The stream it is connected by; `None` when it is away.
    pub connection: Option<ConnectionId>,
    /// When it was last heard of.
    pub seen_ms: Millis,
    /// Epoch and revision in force in all its workers, as far as it has said.
    pub in_force: Option<(String, u64)>,
    /// The last revision it refused, and why.
    pub refused: Option<(u64, Vec<Violation>)>,
    /// Its last gauges.
    pub gauges: FilterGauges,
    /// What it did.
    pub windows: Windows,
    /// What its cache would do with another size.
    pub what_if: WhatIf,
    last_sequence: u64,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Merged.
    Merged,
    /// Seen before; not counted again.
    Duplicate,
    /// From an Envoy that has not said hello.
    Stranger,
}

/// All Envoys, by the name of their process.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    envoys: BTreeMap<String, Envoy>,
    events: VecDeque<(String, BreakerEvent)>,
    refused_reports: u64,
    duplicate_reports: u64,
}

impl Fleet {
    /// An Envoy connected.
    pub fn hello(&mut self, hello: &Hello, connection: ConnectionId, now_ms: Millis) {
        self.forget(now_ms);
        let name = instance(hello);
        let envoy = self.envoys.entry(name).or_default();
        envoy.node_id.clone_from(&hello.node_id);
        envoy.filter_version.clone_from(&hello.filter_version);
        envoy.capabilities.clone_from(&hello.capabilities);
        envoy.workers = hello.workers;
        envoy.connection = Some(connection);
        envoy.seen_ms = now_ms;
    }

    /// A connection ended. One that was replaced by a newer of the same Envoy changes nothing.
    pub fn gone(&mut self, name: &str, connection: ConnectionId) {
        if let Some(envoy) = self
            .envoys
            .get_mut(name)
            .filter(|envoy| envoy.connection == Some(connection))
        {
            envoy.connection = None;
        }
    }

    /// An Envoy accepted or refused a revision.
    pub fn acknowledged(&mut self, name: &str, ack: &SettingsAck, now_ms: Millis) {
        let Some(envoy) = self.envoys.get_mut(name) else { return };
        envoy.seen_ms = now_ms;
        if ack.accepted {
            envoy.workers = ack.workers;
            envoy.in_force = Some((ack.epoch.clone(), ack.revision));
            envoy.refused = None;
        } else {
            envoy.refused = Some((ack.revision, ack.violations.clone()));
        }
    }

    /// An Envoy reported; the report has passed its checks.
    pub fn reported(&mut self, name: &str, report: TelemetryReport, now_ms: Millis) -> Reported {
        let follows = self.envoys.len() <= FOLLOWED;
        let Some(envoy) = self.envoys.get_mut(name) else {
            return Reported::Stranger;
        };
        envoy.seen_ms = now_ms;
        if report.sequence <= envoy.last_sequence {
            self.duplicate_reports += 1;
            return Reported::Duplicate;
        }
        envoy.last_sequence = report.sequence;
        if let Some(gauges) = report.gauges {
            envoy.workers = gauges.workers;
            envoy.gauges = gauges;
        }
        if let Some(mut delta) = report.delta {
            if let Some(samples) = delta.samples.take().filter(|_| follows) {
                envoy.what_if.take(&samples, delta.cache.as_ref(), now_ms);
            }
            for event in &delta.breaker_events {
                if self.events.len() >= MAX_EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back((envoy.node_id.clone(), event.clone()));
            }
            envoy.windows.add(delta, now_ms);
        }
        Reported::Merged
    }

    /// A report that did not pass its checks.
    pub fn refused_report(&mut self) {
        self.refused_reports += 1;
    }

    /// Reports refused and reports seen twice.
    #[must_use]
    pub fn report_faults(&self) -> (u64, u64) {
        (self.refused_reports, self.duplicate_reports)
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
            .filter(|(_, envoy)| envoy.connection.is_some())
            .filter(|(_, envoy)| envoy.in_force.as_ref().is_none_or(|(e, r)| e != epoch || *r < revision))
            .map(|(name, envoy)| {
                if envoy.node_id.is_empty() {
                    name.clone()
                } else {
                    envoy.node_id.clone()
                }
            })
            .collect()
    }

    /// What the fleet did in the last `window_ms`.
    #[must_use]
    pub fn recent(&self, window_ms: Millis, now_ms: Millis) -> Sum {
        let mut sum = Sum::default();
        for envoy in self.envoys.values() {
            envoy.windows.recent(window_ms, now_ms).for_each(|delta| sum.add(delta));
        }
        sum
    }

    /// As [`Fleet::recent`], of a part of the traffic.
    #[must_use]
    pub fn recent_of(&self, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Sum {
        let mut sum = Sum::default();
        let wanted = |name: &str, envoy: &Envoy| {
            let envoy_id = filter.envoy.as_deref();
            envoy_id.is_none_or(|wanted| wanted == name || wanted == envoy.node_id)
        };
        for (_, envoy) in self.envoys.iter().filter(|(name, envoy)| wanted(name, envoy)) {
            for (at_ms, delta) in envoy.windows.recent_slots(window_ms, now_ms) {
                sum.add_of(filter, delta, at_ms);
            }
        }
        sum
    }

    /// What the fleet did since this control plane started, as far as its Envoys are remembered.
    #[must_use]
    pub fn totals(&self) -> Sum {
        let mut sum = Sum::default();
        self.envoys.values().for_each(|envoy| sum.add(envoy.windows.totals()));
        sum
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

impl Envoy {
    /// Connected, or heard of a moment ago.
    #[must_use]
    pub fn is_present(&self, now_ms: Millis) -> bool {
        self.connection.is_some() || self.seen_ms.saturating_add(PRESENT_MS) > now_ms
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{CacheCounters, TelemetryDelta};

    fn hello(name: &str) -> Hello {
        Hello {
            instance_id: name.to_owned(),
            node_id: format!("node-{name}"),
            ..Hello::default()
        }
    }

    fn report(sequence: u64, lookups: u64) -> TelemetryReport {
        let cache = Some(CacheCounters {
            lookups,
            ..Default::default()
        });
        TelemetryReport {
            sequence,
            delta: Some(TelemetryDelta {
                cache,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_report_counts_once_also_over_a_reconnect() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 1000);
        assert_eq!(fleet.reported("a", report(1, 5), 1000), Reported::Merged);
        fleet.gone("a", 1);
        fleet.hello(&hello("a"), 2, 2000);
        assert_eq!(fleet.reported("a", report(1, 5), 2000), Reported::Duplicate);
        assert_eq!(fleet.reported("a", report(2, 1), 2000), Reported::Merged);
        assert_eq!(fleet.recent(60_000, 2000).cache.lookups, 6);
        assert_eq!(fleet.reported("b", report(1, 1), 2000), Reported::Stranger);
    }

    #[test]
    fn stragglers_are_the_connected_without_the_revision() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 0);
        fleet.hello(&hello("b"), 2, 0);
        let ack = |accepted| SettingsAck {
            revision: 3,
            epoch: "e".to_owned(),
            accepted,
            ..Default::default()
        };
        fleet.acknowledged("a", &ack(true), 0);
        assert_eq!(fleet.stragglers("e", 3), ["node-b"]);
        assert_eq!(fleet.stragglers("other", 3).len(), 2);
        fleet.acknowledged("b", &ack(false), 0);
        assert_eq!(fleet.stragglers("e", 3), ["node-b"]);
        fleet.gone("b", 1);
        assert_eq!(fleet.stragglers("e", 3), ["node-b"], "another connection ended");
        fleet.gone("b", 2);
        assert!(fleet.stragglers("e", 3).is_empty());
    }

    #[test]
    fn who_is_away_for_long_is_forgotten() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 0);
        fleet.gone("a", 1);
        assert_eq!(fleet.present(4_999).count(), 1);
        assert_eq!(fleet.present(5_000).count(), 0);
        fleet.hello(&hello("b"), 2, FORGOTTEN_AFTER_MS);
        assert_eq!(fleet.envoys().count(), 1);
    }
}
