//! A snapshot of the caches: one JSON document with everything needed to judge it before any of it is believed.

use crate::Millis;
use serde::{Deserialize, Serialize};

/// Name of the format.
pub const FORMAT: &str = "api-optimizer-cache-snapshot";
/// Its version.
pub const VERSION: u32 = 1;

/// One stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its URL, for people.
    pub url: String,
    /// Its status, for people.
    pub status: u32,
    /// When the origin's response was received.
    pub response_time_ms: Millis,
    /// Last moment at which it may be used in any way.
    pub usable_until_ms: Millis,
    /// How long it is fresh, from its generation on.
    pub freshness_lifetime_ms: Millis,
    /// Its tags and cache groups.
    pub tags: Vec<String>,
    /// It belongs to one identity.
    pub private: bool,
    /// Hits, halved with idle time, where it had most.
    pub hits: u32,
    /// Checksum of the record and of everything above, hexadecimal.
    pub checksum: String,
    /// The whole stored response, fields and body, in the store's own versioned and checksummed form; base64.
    pub record: String,
}

impl Entry {
    /// The checksum that an entry with this record should have.
    #[must_use]
    pub fn sum(&self, record: &[u8]) -> Checksum {
        let mut sum = Checksum::of(record);
        for text in std::iter::once(&self.url).chain(&self.tags) {
            sum.add(&text.len().to_le_bytes());
            sum.add(text.as_bytes());
        }
        let numbers = [
            u64::from(self.status),
            self.response_time_ms,
            self.usable_until_ms,
            self.freshness_lifetime_ms,
            u64::from(self.private),
            u64::from(self.hits),
        ];
        numbers.iter().for_each(|number| sum.add(&number.to_le_bytes()));
        sum
    }
}

/// What stands before the entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Head {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// When it was begun.
    pub created_at: String,
    /// The same in milliseconds.
    pub created_at_ms: Millis,
    /// Settings in force then.
    pub settings_revision: u64,
    /// When the last purge before it was accepted; 0 = there was none.
    pub purged_until_ms: Millis,
    /// Envoys that were asked.
    pub envoys: Vec<String>,
}

/// What stands behind them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SnapshotTrailer {
    /// Everything that was asked for is in it.
    pub complete: bool,
    /// Why it is not complete; absent when it is.
    pub incomplete_because: String,
    /// Number of entries.
    pub count: u64,
    /// Size of all records, bytes.
    pub bytes: u64,
    /// Checksum over the entries' checksums in their order.
    pub checksum: String,
}

/// A running checksum (FNV-1a): it tells damage, not a forger. Whoever may restore a snapshot may put anything into the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }

    /// Goes on with more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    /// As written.
    #[must_use]
    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Restored {
    /// Number of entries read.
    pub read: u64,
    /// In the cache of at least one Envoy now.
    pub restored: u64,
    /// The caches had younger ones.
    pub kept: u64,
    /// Entries that nothing may use any more.
    pub expired: u64,
    /// Entries purged since the snapshot.
    pub purged: u64,
    /// Not believed, by reason.
    pub refused: u64,
    /// Why entries were left out, with how many.
    pub reasons: std::collections::BTreeMap<String, u64>,
}

impl Restored {
    /// The counts by their names.
    #[must_use]
    pub fn counts(&self) -> std::collections::BTreeMap<String, u64> {
        let counts = [
            ("read", self.read),
            ("restored", self.restored),
            ("kept", self.kept),
            ("expired", self.expired),
            ("purged", self.purged),
            ("refused", self.refused),
        ];
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    /// Counts what became of one entry: `restored`, `kept`, `expired`, `purged`, or why it was refused.
    pub fn count(&mut self, outcome: &str) {
        match outcome {
            "restored" => self.restored += 1,
            "kept" => self.kept += 1,
            "expired" => self.expired += 1,
            "purged" => self.purged += 1,
            reason => {
                self.refused += 1;
                *self.reasons.entry(reason.to_owned()).or_default() += 1;
            }
        }
    }
}

/// How good an outcome is; of several Envoys' the best one counts.
#[must_use]
pub fn rank(outcome: &str) -> u8 {
    match outcome {
        "restored" => 3,
        "kept" => 2,
        "expired" | "purged" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_an_entry_is_in_its_checksum() {
        let entry = Entry {
            url: "http://a/b".to_owned(),
            status: 200,
            response_time_ms: 1,
            usable_until_ms: 2,
            freshness_lifetime_ms: 3,
            tags: vec!["t".to_owned()],
            private: false,
            hits: 4,
            checksum: String::new(),
            record: String::new(),
        };
        let sum = entry.sum(b"record");
        assert_ne!(sum, entry.sum(b"recorD"));
        let changes: [fn(&mut Entry); 8] = [
            |entry| entry.url.push('c'),
            |entry| entry.status = 201,
            |entry| entry.response_time_ms = 9,
            |entry| entry.usable_until_ms = 9,
            |entry| entry.freshness_lifetime_ms = 9,
            |entry| entry.tags = vec!["u".to_owned()],
            |entry| entry.private = true,
            |entry| entry.hits = 9,
        ];
        for change in changes {
            let mut changed = entry.clone();
            change(&mut changed);
            assert_ne!(sum, changed.sum(b"record"), "{changed:?}");
        }
    }
}
