//! The Envoys: who is there, what they run on, what they report.

use crate::Millis;
use crate::arrival::Arrival;
use crate::sequences::Sequences;
use crate::what_if::{self, WhatIf};
use crate::windows::{Span, Windows};
use optimizer_proto::telemetry::delta;
use optimizer_proto::v1::{
    BreakerEvent, FilterGauges, Hello, RequestSeries, SettingsAck, TelemetryDelta, TelemetryReport, Violation,
};
use std::collections::{BTreeMap, VecDeque};

/// An Envoy not heard of for so long is forgotten: its gauges at once when it goes, its counts after this.
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
pub const MAX_TOLD: usize = 16;
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

/// One Envoy process.
#[derive(Debug, Clone)]
pub struct Envoy {
    /// Its `node.id`.
    pub node_id: String,
    /// Version of its filter.
    pub filter_version: String,
    /// Checksum of its filter's module; empty = it is not the control plane's.
    pub module: String,
    /// What its filter can do.
    pub capabilities: Vec<String>,
    /// When its process started; 0 = not known.
    pub started_ms: Millis,
    /// VMs in it.
    pub workers: u32,
    /// The stream it is connected by; `None` when it is away.
    pub connection: Option<ConnectionId>,
    /// When it was last heard of.
    pub seen_ms: Millis,
    /// When its last report came, or it connected since.
    pub reported_ms: Millis,
    /// Epoch and revision in force in all its workers, as far as it has said.
    pub in_force: Option<(String, u64)>,
    /// When it said so.
    pub in_force_ms: Millis,
    /// Fields of the settings in force that its filter is too old to know.
    pub ignored: Vec<Violation>,
    /// The last revision it refused, and why.
    pub refused: Option<(u64, Vec<Violation>)>,
    /// Its last gauges.
    pub gauges: FilterGauges,
    /// What it did.
    pub windows: Windows,
    /// What its cache would do with another size.
    pub what_if: WhatIf,
    /// Reports not merged.
    pub faults: Faults,
    arrival: Arrival,
    sequences: Sequences,
}

impl Default for Envoy {
    fn default() -> Self {
        Self {
            node_id: String::new(),
            filter_version: String::new(),
            module: String::new(),
            capabilities: Vec::new(),
            started_ms: 0,
            workers: 0,
            connection: None,
            seen_ms: 0,
            reported_ms: 0,
            in_force: None,
            in_force_ms: 0,
            ignored: Vec::new(),
            refused: None,
            gauges: FilterGauges::default(),
            // There may be thousands, and one by itself is seldom asked for.
            windows: Windows::packed(),
            what_if: WhatIf::default(),
            faults: Faults::default(),
            arrival: Arrival::default(),
            sequences: Sequences::default(),
        }
    }
}

/// Reports that were not merged, by cause, and the last one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many, by cause; `duplicate` is no fault of anybody.
    pub by_cause: BTreeMap<&'static str, u64>,
    /// The field that was wrong with the last refused one, and when.
    pub last: Option<(String, Millis)>,
}

impl Faults {
    fn count(&mut self, cause: &'static str) {
        *self.by_cause.entry(cause).or_default() += 1;
    }
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

    /// Another replica has heard an Envoy. One that has come here since, or to a third replica, stays there.
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
            envoy.ignored = told(&ack.violations);
            envoy.refused = None;
        } else {
            envoy.refused = Some((ack.revision, told(&ack.violations)));
        }
    }

    /// An Envoy reported; the report has passed its checks. What it tells of breakers is in the report still.
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
        let Some(mut delta) = report.delta.clone() else {
            return Reported::Merged;
        };
        let samples = delta.samples.take();
        delta.purges.clear();
        if follows {
            envoy.what_if.take(samples.as_ref(), delta.cache.as_ref(), most, now_ms);
        }
        for event in delta.breaker_events.drain(..) {
            if self.events.len() >= MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back((envoy.node_id.clone(), event));
        }
        envoy.windows.add(&delta, span);
        delta::merge(&mut self.totals, &delta);
        self.windows.add(&delta, span);
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

    /// Of these Envoys, the connected ones whose workers do not all run on this revision yet: who has refused it, and who is
    /// still waited for.
    #[must_use]
    pub fn standing<'a>(&self, names: impl Iterator<Item = &'a str>, epoch: &str, revision: u64) -> Standing {
        let mut standing = Standing::default();
        for name in names {
            let Some(envoy) = self.envoys.get(name).filter(|envoy| envoy.connection.is_some()) else {
                continue;
            };
            if envoy.runs_on(epoch, revision) {
                continue;
            }
            let title = envoy.title(name).to_owned();
            match &envoy.refused {
                Some((refused, why)) if *refused == revision => standing.refused.push((title, why.clone())),
                _ => standing.late.push(title),
            }
        }
        standing
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
pub struct Standing {
    /// Not heard of yet.
    pub late: Vec<String>,
    /// Refused it, with the reasons.
    pub refused: Vec<(String, Vec<Violation>)>,
}

impl Envoy {
    /// Whether all its workers run on this revision or a later one of the same history.
    #[must_use]
    pub fn runs_on(&self, epoch: &str, revision: u64) -> bool {
        self.in_force
            .as_ref()
            .is_some_and(|(of, number)| of == epoch && *number >= revision)
    }

    /// Whether it has answered for settings that it was sent.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.in_force.is_some() || self.refused.is_some()
    }

    /// What operators call it: its node id, else the name of its process.
    #[must_use]
    pub fn title<'a>(&'a self, name: &'a str) -> &'a str {
        if self.node_id.is_empty() { name } else { &self.node_id }
    }

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

/// As much of what an Envoy finds wrong as is kept.
fn told(violations: &[Violation]) -> Vec<Violation> {
    let kept = violations.iter().take(MAX_TOLD).map(|found| Violation {
        path: shortened(&found.path, MAX_PATH),
        code: shortened(&found.code, MAX_WORD),
        message: shortened(&found.message, MAX_MESSAGE),
    });
    kept.collect()
}

/// At most so many bytes of a text.
fn shortened(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "fleet_bounds_tests.rs"]
mod bounds;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sum::Filter;
    use optimizer_proto::v1::CacheCounters;

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
    fn a_module_is_that_of_the_newest_process_that_is_connected() {
        let mut fleet = Fleet::default();
        let said = |process: &str, module: &str| Hello {
            node_id: "node".to_owned(),
            module: module.to_owned(),
            ..hello(process)
        };
        fleet.hello(&said("before", "old"), 1, 1_000);
        fleet.hello(&said("after", "new"), 2, 2_000);
        assert_eq!(fleet.module_of("node"), Some("new"));
        assert_eq!(fleet.modules().get("node").map(String::as_str), Some("new"));
        for (process, connection) in [("after", 2), ("before", 1)] {
            fleet.gone(&instance(&said(process, "")), connection);
        }
        assert_eq!(fleet.module_of("node"), None);
        assert!(fleet.modules().is_empty());
    }

    #[test]
    fn a_report_counts_once_also_over_a_reconnect() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 1000);
        assert_eq!(fleet.reported("a", &report(1, 5), 1000), Reported::Merged);
        fleet.gone("a", 1);
        fleet.hello(&hello("a"), 2, 2000);
        assert_eq!(fleet.reported("a", &report(1, 5), 2000), Reported::Duplicate);
        assert_eq!(fleet.reported("a", &report(2, 1), 2000), Reported::Merged);
        assert_eq!(fleet.recent(60_000, 2000).cache.lookups, 6);
        assert_eq!(fleet.reports(), (2, &BTreeMap::from([("duplicate", 1)])));
        assert_eq!(fleet.reported("b", &report(1, 1), 2000), Reported::Stranger);
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
        let names = || ["a", "b", "c"].into_iter();
        assert_eq!(fleet.standing(names(), "e", 3).late, ["node-b"]);
        fleet.acknowledged("b", &ack(false), 0);
        let standing = fleet.standing(names(), "e", 3);
        assert!(standing.late.is_empty() && standing.refused[0].0 == "node-b");
        assert_eq!(fleet.stragglers("e", 3), ["node-b"]);
        fleet.gone("b", 1);
        assert_eq!(fleet.stragglers("e", 3), ["node-b"], "another connection ended");
        fleet.gone("b", 2);
        assert!(fleet.stragglers("e", 3).is_empty());
    }

    #[test]
    fn an_envoy_is_where_it_came_last_and_nowhere_when_that_replica_is_gone() {
        let at = |when: u64, replica: u64| when << REPLICA_BITS | replica;
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), at(1, 7), 0);
        fleet.hello_elsewhere(&hello("a"), at(2, 8), 0);
        fleet.hello_elsewhere(&hello("a"), at(1, 9), 0);
        assert_eq!(fleet.get("a").unwrap().connection, Some(at(2, 8)));
        fleet.gone("a", at(1, 7));
        fleet.keep_connections_of(|replica| replica == 8);
        assert_eq!(fleet.get("a").unwrap().connection, Some(at(2, 8)));
        fleet.keep_connections_of(|replica| replica == 7);
        assert_eq!(fleet.get("a").unwrap().connection, None);
    }

    #[test]
    fn who_is_away_for_long_is_forgotten() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 0);
        fleet.reported("a", &report(1, 5), 0);
        fleet.gone("a", 1);
        assert_eq!(fleet.present(4_999).count(), 1);
        assert_eq!(fleet.present(5_000).count(), 0);
        fleet.hello(&hello("b"), 2, FORGOTTEN_AFTER_MS);
        assert_eq!(fleet.envoys().count(), 1);
    }

    #[test]
    fn of_one_that_only_said_its_name_nothing_is_kept() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 0);
        fleet.gone("a", 1);
        assert_eq!(fleet.envoys().count(), 0);
        let violation = |length: usize| Violation {
            path: "p".repeat(length),
            code: "c".repeat(length),
            message: "\u{e9}".repeat(length),
        };
        fleet.hello(&hello("b"), 2, 0);
        let ack = SettingsAck {
            accepted: true,
            epoch: "e".repeat(10_000),
            violations: vec![violation(10_000); 1_000],
            ..SettingsAck::default()
        };
        fleet.acknowledged("b", &ack, 0);
        let kept: usize = fleet
            .get("b")
            .unwrap()
            .ignored
            .iter()
            .map(|one| one.path.len() + one.code.len() + one.message.len())
            .sum();
        assert!(kept <= 16 * 832, "{kept}");
        let long = Hello {
            node_id: "n".repeat(257),
            ..hello("c")
        };
        assert_eq!(
            (Fleet::too_long(&long), Fleet::too_long(&hello("c"))),
            (Some("node_id"), None)
        );
    }

    #[test]
    fn totals_do_not_shrink_when_an_envoy_is_forgotten() {
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 0);
        fleet.reported("a", &report(1, 5), 0);
        fleet.gone("a", 1);
        fleet.hello(&hello("b"), 2, FORGOTTEN_AFTER_MS);
        fleet.reported("b", &report(1, 1), FORGOTTEN_AFTER_MS);
        assert_eq!((fleet.envoys().count(), fleet.totals().cache.lookups), (1, 6));
    }

    #[test]
    fn one_envoy_is_asked_for_by_instance_or_node() {
        let mut fleet = Fleet::default();
        for (name, lookups) in [("a", 5), ("b", 7)] {
            fleet.hello(&hello(name), 1, 0);
            fleet.reported(name, &report(1, lookups), 0);
        }
        for (envoy, lookups) in [("a", 5), ("node-b", 7), ("nobody", 0)] {
            let filter = Filter {
                envoy: Some(envoy.to_owned()),
                ..Filter::default()
            };
            assert_eq!(fleet.recent_of(&filter, 60_000, 0).cache.lookups, lookups, "{envoy}");
        }
    }

    #[test]
    fn the_rate_of_a_fleet_adds_up_what_each_envoy_does_now() {
        let requests = |sequence: u64, count: u64, span_ms: u64, closed_at_ms: Millis| TelemetryReport {
            sequence,
            span_ms,
            closed_at_ms,
            delta: Some(TelemetryDelta {
                requests: vec![optimizer_proto::v1::RequestSeries {
                    count,
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut fleet = Fleet::default();
        fleet.hello(&hello("a"), 1, 0);
        fleet.hello(&hello("b"), 2, 0);
        // One came a moment ago, the other after an outage of ten minutes.
        fleet.reported("a", &requests(1, 100, 10_000, 1_000_000), 1_000_000);
        fleet.reported("b", &requests(1, 6_000, 600_000, 1_000_000), 1_000_000);
        let window = fleet.recent(300_000, 1_000_000);
        let rate = fleet.requests_per_second(&Filter::default(), &window, 300_000, 1_000_000);
        assert!((rate - 20.0).abs() < 1e-9, "{rate}");
    }
}
