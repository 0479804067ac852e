//! One Envoy process, as far as it has told.

use super::{ConnectionId, PRESENT_MS};
use crate::Millis;
use crate::fleet::clock_offset::ClockOffset;
use crate::telemetry::sequences::Sequences;
use crate::telemetry::windows::Windows;
use crate::what_if::WhatIf;
use optimizer_proto::v1::{FilterGauges, Violation};
use std::collections::BTreeMap;

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
    pub(super) arrival: ClockOffset,
    pub(super) sequences: Sequences,
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
            arrival: ClockOffset::default(),
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
    pub(super) fn count(&mut self, cause: &'static str) {
        *self.by_cause.entry(cause).or_default() += 1;
    }
}

impl Envoy {
    /// Whether all its workers run on this revision or a later one of the same history.
    #[must_use]
    pub fn runs_on(&self, epoch: &str, revision: u64) -> bool {
        self.in_force
            .as_ref()
            .is_some_and(|(of, number)| of == epoch && *number >= revision)
    }

    /// Whether this revision is the last one that it rejected.
    #[must_use]
    pub fn refuses(&self, revision: u64) -> bool {
        self.refused.as_ref().is_some_and(|(refused, _)| *refused == revision)
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
