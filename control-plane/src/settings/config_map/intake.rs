//! What the ConfigMap's keys say is proposed like any other change.

use super::super::service::SettingsService;
use crate::kernel::clock::now_ms;
use control_domain::settings::config_map::{ConfigMap, Intake};
use control_domain::settings::doubt::Doubt;
use control_domain::settings::history::Author;
#[cfg(feature = "kubernetes")]
use control_domain::settings::write_back::keys_to_write;
use std::collections::BTreeMap;

impl SettingsService {
    /// Looks at the ConfigMap's keys. While an operator's canary is judged they wait; an experiment gives way to them.
    pub(crate) async fn look_at_config_map(&self, keys: &BTreeMap<String, String>) {
        let Some((looked, intake)) = self.judge_keys(keys) else {
            return;
        };
        for (key, reason) in &intake.refused {
            tracing::warn!(key, reason, "ConfigMap value refused, last good stays");
        }
        for (key, notice) in &intake.notices {
            tracing::info!(key, notice, "ConfigMap value adjusted");
        }
        let author = Author {
            who: "ConfigMap".to_owned(),
            source: "config_map".to_owned(),
            reason: String::new(),
        };
        let made = self.commit("settings", |state| {
            let mut new = state.agreed();
            new.seen.clone_from(keys);
            if let Some(change) = &intake.change {
                match state.history.propose(change, None, author.clone(), now_ms()) {
                    Ok(accepted) => {
                        if accepted.changed {
                            let revision = new.give_way_to(accepted.revision, now_ms());
                            new.history.accept(revision);
                        }
                    }
                    // The keys were judged against the settings of a moment ago: only another change in between can refuse them now.
                    Err(refused) => tracing::error!(%refused, "ConfigMap refused as a whole, last good stays"),
                }
            }
            Ok((Some(new), ()))
        });
        match made.await {
            Ok(()) => self.state().config_map = looked,
            Err(refused) => {
                tracing::warn!(%refused, "ConfigMap keys have to wait");
                // They are looked at again.
                self.state().mounted = None;
            }
        }
    }

    /// Keys were written to the ConfigMap from here: when it shows them, nothing has changed.
    #[cfg(feature = "kubernetes")]
    pub(super) async fn wrote_config_map(&self, keys: &BTreeMap<String, String>) {
        let mut looked = self.state().config_map.clone();
        looked.wrote(keys);
        let made = self.commit("settings", |state| {
            let mut new = state.agreed();
            new.seen.extend(keys.clone());
            Ok((Some(new), ()))
        });
        match made.await {
            Ok(()) => self.state().config_map = looked,
            // Seen again, it is the change that it already is.
            Err(refused) => tracing::warn!(%refused, "what was written to the ConfigMap is not noted"),
        }
    }

    /// What the ConfigMap must say to give the settings in force; `None` while that cannot be told.
    #[cfg(feature = "kubernetes")]
    pub(super) fn wanted_in_config_map(&self, keys: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        // Before a replica has seen what is shared, its settings are not those in force.
        if !self.is_in_touch() {
            return None;
        }
        let state = self.state();
        // What is on trial may be given up; the ConfigMap waits as the history does.
        if state.canary.is_some() {
            return None;
        }
        let document = &state.history.present().document;
        Some(keys_to_write(keys, state.config_map.refused(), document))
    }

    /// What is new in the keys; `None` when there is nothing, or now is not the time.
    fn judge_keys(&self, keys: &BTreeMap<String, String>) -> Option<(ConfigMap, Intake)> {
        let (in_touch, shared) = (self.is_in_touch(), self.replication.is_shared());
        let mut state = self.state();
        state.config_map_fault = None;
        let waits = state.canary.as_ref().is_some_and(|canary| !canary.is_experiment());
        if waits || state.any_doubt().and_then(Doubt::describe).is_some() {
            return None;
        }
        if shared {
            if !in_touch {
                return None;
            }
            // A volume that still shows what it showed before is behind that of the replica whose keys are in force: volumes follow a
            // change up to a minute apart.
            let anew = state.mounted.as_ref() != Some(keys);
            state.mounted = Some(keys.clone());
            if !anew {
                return None;
            }
        }
        if state.config_map.seen() == keys {
            return None;
        }
        let mut looked = state.config_map.clone();
        let intake = looked.look(keys, &state.history.present().document, self.machine);
        Some((looked, intake))
    }

    fn is_in_touch(&self) -> bool {
        self.replication.has_joined() && self.replication.fault().is_none()
    }

    /// The ConfigMap cannot be read; the settings stay.
    pub(super) fn config_map_fails(&self, fault: String) {
        let mut state = self.state();
        if state.config_map_fault.as_ref() != Some(&fault) {
            tracing::warn!(fault, "ConfigMap out of reach, settings stay");
            state.config_map_fault = Some(fault);
        }
    }

    /// It is read again.
    #[cfg(feature = "kubernetes")]
    pub(super) fn config_map_is_well(&self) {
        self.state().config_map_fault = None;
    }
}
