//! The recorded results: what passed once must go on passing.

use crate::suite::{Test, folder};
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
    pub(crate) fn lost(&self, present: &Verdicts, tests: &[Test]) -> Vec<String> {
        passes(&self.verdicts, tests)
            .filter(|id| present.get(*id) != Some(&Verdict::Pass))
            .cloned()
            .collect()
    }

    /// Tests that pass in `present` and did not in the record.
    pub(crate) fn gained(&self, present: &Verdicts, tests: &[Test]) -> Vec<String> {
        passes(present, tests)
            .filter(|id| self.verdicts.get(*id) != Some(&Verdict::Pass))
            .cloned()
            .collect()
    }
}

/// What passes among the required and optimal tests. A `check` asks what a cache does ("does it forward `Surrogate-Control`?"),
/// not whether that is right: its answer is recorded, and is free to change.
fn passes<'a>(verdicts: &'a Verdicts, tests: &[Test]) -> impl Iterator<Item = &'a String> {
    let judged = |id: &String| tests.iter().any(|test| test.id == *id && test.kind != "check");
    verdicts
        .iter()
        .filter(move |(id, verdict)| **verdict == Verdict::Pass && judged(id))
        .map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_can_be_neither_lost_nor_gained() {
        let of = |kind: &str, id: &str| Test {
            id: id.to_owned(),
            kind: kind.to_owned(),
            depends_on: Vec::new(),
        };
        let tests = [of("required", "must"), of("check", "asks")];
        let all = |verdict| Verdicts::from(["must", "asks"].map(|id| (id.to_owned(), verdict)));
        let record = |verdict| Record {
            suite: String::new(),
            score: Score {
                required: (0, 1),
                optimal: (0, 0),
                checks: (0, 1),
            },
            verdicts: all(verdict),
        };
        assert_eq!(record(Verdict::Pass).lost(&all(Verdict::Fail), &tests), ["must"]);
        assert_eq!(record(Verdict::Fail).gained(&all(Verdict::Pass), &tests), ["must"]);
    }
}
