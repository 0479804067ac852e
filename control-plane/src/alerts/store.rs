//! Alerts, silences and the usual traffic on disk, so that a restart forgets none of them.

use crate::plane::Plane;
use crate::storage::document;
use control_domain::alerts::{Baseline, Board};
use serde::Serialize;
use std::path::{Path, PathBuf};

const FILE: &str = "alerts.json";

#[derive(Serialize)]
struct Kept<'a> {
    board: &'a Board,
    baseline: &'a Baseline,
}

/// The file, if state is kept at all.
pub(crate) struct AlertFile {
    path: Option<PathBuf>,
    kept: u64,
}

impl AlertFile {
    pub(crate) fn new(state_dir: Option<&Path>) -> Self {
        Self {
            path: state_dir.map(|directory| directory.join(FILE)),
            kept: 0,
        }
    }

    /// What was kept last.
    pub(crate) fn load(&self) -> Option<(Board, Baseline)> {
        let read = |mut kept: serde_json::Value| {
            let board = serde_json::from_value(kept["board"].take())?;
            Ok((board, serde_json::from_value(kept["baseline"].take())?))
        };
        document::load(self.path.as_deref()?, read)
    }

    /// Writes it down, if there is something new or it is wanted anyway.
    pub(crate) fn keep(&mut self, plane: &Plane, anyway: bool) {
        let Some(path) = &self.path else { return };
        let (board, baseline) = {
            let domain = plane.domain();
            if domain.board.version() == self.kept && !anyway {
                return;
            }
            (domain.board.clone(), domain.baseline.clone())
        };
        self.kept = board.version();
        let kept = Kept {
            board: &board,
            baseline: &baseline,
        };
        if let Err(error) = document::save(path, &kept) {
            tracing::warn!(%error, "alerts cannot be kept");
        }
    }
}
