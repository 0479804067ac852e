//! Which Envoys are measured, and what they did in a slot of time.

use super::arms::{Arms, Sample};
use crate::Millis;
use crate::fleet::{Envoy, Fleet};
use crate::telemetry::sum::Sum;
use crate::telemetry::windows::SLOT_MS;
use std::collections::{BTreeMap, BTreeSet};

/// Envoys measured of each arm: of a larger one a part says enough.
pub const MEASURED: usize = 128;
/// What both arms did for so long before the change says whether they are alike.
const BEFORE_MS: Millis = 300_000;

/// The Envoys of both arms as they were at the beginning, with the start of their process. One that starts later has a cold cache and is in
/// neither; one that is started anew is not measured any more. By xDS Envoys of the same node get the same, so one with the node of an Envoy
/// that tries the change is in neither too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cohort {
    experiment: BTreeMap<String, Millis>,
    control: BTreeMap<String, Millis>,
}

impl Cohort {
    /// Of the Envoys that are connected, those that try the change and the others.
    #[must_use]
    pub fn of(fleet: &Fleet, trying: &BTreeSet<String>) -> Self {
        let tries = |name: &str| trying.contains(name);
        let nodes: BTreeSet<&str> = fleet
            .envoys()
            .filter(|(name, envoy)| tries(name) && !envoy.node_id.is_empty())
            .map(|(_, envoy)| envoy.node_id.as_str())
            .collect();
        let is_in = |name: &str, envoy: &Envoy, of_experiment: bool| match tries(name) {
            true => of_experiment,
            false => !of_experiment && !nodes.contains(envoy.node_id.as_str()),
        };
        let arm = |of_experiment: bool| {
            fleet
                .envoys()
                .filter(|(name, envoy)| envoy.connection.is_some() && is_in(name, envoy, of_experiment))
                .map(|(name, envoy)| (name.to_owned(), envoy.started_ms))
                .take(MEASURED)
                .collect()
        };
        Self {
            experiment: arm(true),
            control: arm(false),
        }
    }

    /// How many Envoys are in each arm.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.experiment.len(), self.control.len())
    }

    /// What both arms did before now.
    #[must_use]
    pub fn before(&self, fleet: &Fleet, now_ms: Millis) -> Arms {
        let last = now_ms / SLOT_MS;
        let mut arms = Arms::default();
        for slot in last.saturating_sub(BEFORE_MS / SLOT_MS)..last {
            let (experiment, control) = self.slot(fleet, slot * SLOT_MS);
            arms.add(&experiment, &control);
        }
        arms
    }

    /// What both arms did in the slot that begins then.
    #[must_use]
    pub fn slot(&self, fleet: &Fleet, from_ms: Millis) -> (Sample, Sample) {
        let sample = |arm: &BTreeMap<String, Millis>| {
            let mut sum = Sum::default();
            let same = arm.iter().filter_map(|(name, started)| {
                let envoy: &Envoy = fleet.get(name)?;
                (envoy.started_ms == *started).then_some(envoy)
            });
            for envoy in same {
                let slot = envoy.windows.recent(0, from_ms);
                slot.for_each(|(_, delta)| sum.add(&delta));
            }
            Sample::of(&sum)
        };
        (sample(&self.experiment), sample(&self.control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{Hello, RequestSeries, TelemetryDelta, TelemetryReport};

    fn hello(name: &str, started_at_ms: u64) -> Hello {
        Hello {
            instance_id: name.to_owned(),
            node_id: name.to_owned(),
            started_at_ms,
            ..Hello::default()
        }
    }

    fn reports(fleet: &mut Fleet, name: &str, sequence: u64, count: u64, at_ms: Millis) {
        let report = TelemetryReport {
            sequence,
            closed_at_ms: at_ms,
            span_ms: 1_000,
            delta: Some(TelemetryDelta {
                requests: vec![RequestSeries {
                    count,
                    ..RequestSeries::default()
                }],
                ..TelemetryDelta::default()
            }),
            ..TelemetryReport::default()
        };
        fleet.reported(name, &report, at_ms);
    }

    #[test]
    fn only_envoys_of_the_beginning_are_measured() {
        let mut fleet = Fleet::default();
        for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
            fleet.hello(&hello(name, 5), at as u64 + 1, 1_000_000);
        }
        let cohort = Cohort::of(&fleet, &BTreeSet::from(["a".to_owned()]));
        assert_eq!(cohort.sizes(), (1, 2));
        let twin = Hello {
            instance_id: "twin".to_owned(),
            ..hello("a", 5)
        };
        fleet.hello(&twin, 8, 1_000_000);
        assert_eq!(Cohort::of(&fleet, &BTreeSet::from(["a".to_owned()])), cohort);
        fleet.hello(&hello("late", 5), 9, 1_000_000);
        for (name, count) in [("a", 1), ("b", 10), ("c", 100), ("late", 1_000)] {
            reports(&mut fleet, name, 1, count, 1_015_000);
        }
        let requests = |fleet: &Fleet| {
            let (one, other) = cohort.slot(fleet, 1_010_000);
            (one.requests, other.requests)
        };
        assert_eq!(requests(&fleet), (1, 110));
        assert_eq!(cohort.slot(&fleet, 1_020_000).1.requests, 0, "another slot");
        assert_eq!(cohort.before(&fleet, 1_040_000).control.requests, 110);
        fleet.hello(&hello("c", 1_012_000), 10, 1_012_000);
        assert_eq!(requests(&fleet), (1, 10), "started anew");
    }
}
