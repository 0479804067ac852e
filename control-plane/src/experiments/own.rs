//! The experiment that is judged here: what is known of both arms, and how far it has been looked at.

use control_domain::Millis;
use control_domain::experiments::{Because, Cohort, Experiment, Rollout, Slot, Trial};
use control_domain::fleet::Fleet;
use control_domain::telemetry::windows::SLOT_MS;
use std::collections::BTreeSet;

/// Envoys report once a second: so long after its end a slot is complete.
const COMPLETE_AFTER_MS: Millis = 3_000;
/// Slots older than this are passed over, after this process stood still.
const OLDEST_MS: Millis = 120_000;

/// An experiment that is judged here.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) id: String,
    pub(super) revision: u64,
    epoch: String,
    envoys: BTreeSet<String>,
    pub(super) trial: Trial,
    pub(super) cohort: Cohort,
    /// Beginning of the next slot to look at.
    next_ms: Millis,
    pub(super) shared_ms: Millis,
    /// What is decided and not done yet.
    pub(super) decided: Option<Because>,
}

impl Own {
    pub(super) fn new(
        experiment: &Experiment,
        envoys: BTreeSet<String>,
        (trial, cohort): (Trial, Cohort),
        epoch: &str,
    ) -> Self {
        Self {
            id: experiment.id.clone(),
            revision: experiment.revision,
            epoch: epoch.to_owned(),
            envoys,
            trial,
            cohort,
            next_ms: experiment.started_at.next_multiple_of(SLOT_MS),
            shared_ms: experiment.started_at,
            decided: None,
        }
    }

    /// The slots that are complete and were not looked at yet.
    pub(super) fn slots(&mut self, fleet: &Fleet, now_ms: Millis) -> Vec<Slot> {
        let oldest = now_ms.saturating_sub(OLDEST_MS).next_multiple_of(SLOT_MS);
        self.next_ms = self.next_ms.max(oldest);
        let mut slots = Vec::new();
        while self.next_ms + SLOT_MS + COMPLETE_AFTER_MS <= now_ms {
            let (experiment, control) = self.cohort.slot(fleet, self.next_ms);
            slots.push(Slot {
                from_ms: self.next_ms,
                experiment,
                control,
            });
            self.next_ms += SLOT_MS;
        }
        slots
    }

    pub(super) fn rollout(&self, fleet: &Fleet) -> Rollout {
        let mut names = self.envoys.iter().map(String::as_str);
        let status = fleet.rollout_status(&mut names, &self.epoch, self.revision);
        let is_there = |name: &String| fleet.get(name).is_some_and(|envoy| envoy.connection.is_some());
        match status.refused.first() {
            Some((envoy, _)) => Rollout::Refused(envoy.clone()),
            None if status.late.is_empty() && self.envoys.iter().any(is_there) => Rollout::InForce,
            None => Rollout::Waiting,
        }
    }
}

/// The reason of a revision that ends an experiment because somebody has stopped it.
pub(super) fn stopped(id: &str) -> String {
    format!("experiment {id} stopped")
}
