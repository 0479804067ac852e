//! The ConfigMap as a door to the settings: what its keys say is proposed like any other change.

use crate::kernel::clock::now_ms;
use crate::plane::Plane;
use crate::settings::adopt::Doubt;
use control_domain::book::Author;
use control_domain::config_map::{ConfigMap, Intake};
use std::collections::BTreeMap;

impl Plane {
    /// Looks at the ConfigMap's keys. While a canary is judged they wait.
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
            door: "config_map".to_owned(),
            reason: String::new(),
        };
        let made = self.commit("settings", |domain| {
            let mut new = domain.agreed();
            new.seen.clone_from(keys);
            if let Some(change) = &intake.change {
                match domain.book.propose(change, None, author.clone(), now_ms()) {
                    Ok(accepted) => {
                        if accepted.changed {
                            new.book.accept(accepted.revision);
                        }
                    }
                    // The keys were judged against the settings of a moment ago: only another door in between can refuse them now.
                    Err(refused) => tracing::error!(%refused, "ConfigMap refused as a whole, last good stays"),
                }
            }
            Ok((Some(new), ()))
        });
        match made.await {
            Ok(()) => self.domain().config_map = looked,
            Err(refused) => {
                tracing::warn!(%refused, "ConfigMap keys have to wait");
                if let Some(replicas) = &self.replicas {
                    replicas.forget_mount();
                }
            }
        }
    }

    /// Keys were written to the ConfigMap from here: when it shows them, nothing has changed.
    pub(crate) async fn wrote_config_map(&self, keys: &BTreeMap<String, String>) {
        let mut looked = self.domain().config_map.clone();
        looked.wrote(keys);
        let made = self.commit("settings", |domain| {
            let mut new = domain.agreed();
            new.seen.extend(keys.clone());
            Ok((Some(new), ()))
        });
        match made.await {
            Ok(()) => self.domain().config_map = looked,
            // Seen again, it is the change that it already is.
            Err(refused) => tracing::warn!(%refused, "what was written to the ConfigMap is not noted"),
        }
    }

    /// What is new in the keys; `None` when there is nothing, or now is not the time.
    fn judge_keys(&self, keys: &BTreeMap<String, String>) -> Option<(ConfigMap, Intake)> {
        let mut domain = self.domain();
        domain.config_map_fault = None;
        if domain.canary.is_some() || domain.doubt.as_ref().and_then(Doubt::told).is_some() {
            return None;
        }
        if let Some(replicas) = &self.replicas {
            let in_touch = replicas.has_joined() && replicas.fault().is_none();
            // A volume that still shows what it showed before is behind that of the replica whose keys are in force.
            if !in_touch || !replicas.mounts_anew(keys) {
                return None;
            }
        }
        if domain.config_map.seen() == keys {
            return None;
        }
        let mut looked = domain.config_map.clone();
        let intake = looked.look(keys, &domain.book.present().document, self.machine);
        Some((looked, intake))
    }

    /// The ConfigMap cannot be read; the settings stay.
    pub(crate) fn config_map_fails(&self, fault: String) {
        let mut domain = self.domain();
        if domain.config_map_fault.as_ref() != Some(&fault) {
            tracing::warn!(fault, "ConfigMap out of reach, settings stay");
            domain.config_map_fault = Some(fault);
        }
    }
}
