//! Alerts, silences and the usual traffic on disk, so that a restart forgets none of them.

use crate::storage::document;
use control_domain::alerts::{AlertRegistry, Baseline};
use serde::Serialize;
use std::path::{Path, PathBuf};

const FILE: &str = "alerts.json";

#[derive(Serialize)]
struct Record<'a> {
    #[serde(rename = "board")]
    registry: &'a AlertRegistry,
    baseline: &'a Baseline,
}

/// The file, if state is kept at all.
#[derive(Debug)]
pub(super) struct AlertStore {
    path: Option<PathBuf>,
}

impl AlertStore {
    pub(super) fn new(state_dir: Option<&Path>) -> Self {
        Self {
            path: state_dir.map(|directory| directory.join(FILE)),
        }
    }

    /// What was kept last.
    pub(super) fn load(&self) -> Option<(AlertRegistry, Baseline)> {
        let read = |mut kept: serde_json::Value| {
            let registry = serde_json::from_value(kept["board"].take())?;
            Ok((registry, serde_json::from_value(kept["baseline"].take())?))
        };
        document::load(self.path.as_deref()?, read)
    }

    /// Writes it down.
    pub(super) fn save(&self, registry: &AlertRegistry, baseline: &Baseline) {
        let Some(path) = &self.path else { return };
        if let Err(error) = document::save(path, &Record { registry, baseline }) {
            tracing::warn!(%error, "alerts cannot be kept");
        }
    }

    /// Whether anything is written down.
    pub(super) fn keeps(&self) -> bool {
        self.path.is_some()
    }
}
