//! The recorded results: what passed once must go on passing.

use crate::suite::folder;
use crate::verdict::{Score, Verdict, Verdicts};
use e2e::{Failure, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The content of `record.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The suite and its version.
    pub(crate) suite: String,
    pub(crate) score: Score,
    pub(crate) verdicts: Verdicts,
}

impl Record {
    fn path() -> PathBuf {
        folder().join("record.json")
    }

    /// The record; `None` before the first run.
    pub(crate) fn read() -> Result<Option<Self>> {
        match std::fs::read(Self::path()) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::from(error).during("reading record.json")),
        }
    }

    /// Replaces the record.
    pub(crate) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(Self::path(), text).map_err(|error| Failure::from(error).during("writing record.json"))
    }

    /// Tests that passed in the record and do not pass in `present`.
    pub(crate) fn lost(&self, present: &Verdicts) -> Vec<String> {
        passes(&self.verdicts)
            .filter(|id| present.get(*id) != Some(&Verdict::Pass))
            .cloned()
            .collect()
    }

    /// Tests that pass in `present` and did not in the record.
    pub(crate) fn gained(&self, present: &Verdicts) -> Vec<String> {
        passes(present)
            .filter(|id| self.verdicts.get(*id) != Some(&Verdict::Pass))
            .cloned()
            .collect()
    }
}

fn passes(verdicts: &Verdicts) -> impl Iterator<Item = &String> {
    verdicts
        .iter()
        .filter(|(_, verdict)| **verdict == Verdict::Pass)
        .map(|(id, _)| id)
}
