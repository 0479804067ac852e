//! How far a restore has come: a file beside the snapshot, so that one that was cut goes on where it broke off.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which restore, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The control plane.
    pub server: String,
    /// The only Envoy that is meant; empty: all.
    pub envoy: String,
    /// The snapshot's own count and checksum.
    pub snapshot: (u64, String),
    /// The Envoys that have what was sent so far.
    pub envoys: BTreeSet<String>,
    /// Up to here in the document they have it, bytes.
    pub done: u64,
}

fn place(snapshot: &Path) -> PathBuf {
    let mut name = snapshot.as_os_str().to_owned();
    name.push(".restore");
    PathBuf::from(name)
}

impl Record {
    /// What an earlier attempt at the same restore has left.
    #[must_use]
    pub fn earlier(&self, snapshot: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(place(snapshot)).ok()?;
        let found: Self = serde_json::from_str(&text).ok()?;
        let is_same = found.server == self.server && found.envoy == self.envoy && found.snapshot == self.snapshot;
        is_same.then_some(found)
    }

    /// Keeps it; false where it cannot be written: then a restore that is cut begins anew.
    pub fn keep(&self, snapshot: &Path) -> bool {
        let text = serde_json::to_string(self).unwrap_or_default();
        std::fs::write(place(snapshot), text).is_ok()
    }

    /// The restore is done.
    pub fn forget(snapshot: &Path) {
        let _ = std::fs::remove_file(place(snapshot));
    }
}
