//! Purging without looking for what is purged: a purge leaves a numbered stamp, an entry carries the number it was born with.
//!
//! A purge is in force in a worker from its next [`InvalidationLog::refresh`]; whoever acknowledges a purge waits until all workers did
//! that. The table is bounded: old stamps are merged into coarser ones, which may purge too much, never too little.

use super::codec::u32_at;
use super::invalidation_table::{Stamp, StampTable, Subject};
use crate::Millis;
use crate::shared_map::{SetError, SharedMap, keys};
use optimizer_proto::purge::{PurgeTarget, Stored, names_of_tag, search_tag};
use optimizer_proto::url;

const TRIES: usize = 256;
const MAX_PREFIX_LEN: usize = 8192;

const HOST: u64 = 1;
const PREFIX: u64 = 2;
const TAG: u64 = 3;
const URL: u64 = 4;

/// How many purges there had been when an entry's fetch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PurgeGeneration(pub(super) u32);

impl PurgeGeneration {
    /// That of a response which the origin gave at a time and which was not in this store since, as one from a snapshot. Purges
    /// are numbered by their time at least, so every purge from that second on has a greater number: one too many may apply,
    /// never one too few.
    #[must_use]
    pub fn received(at_ms: Millis) -> Self {
        Self(floor(at_ms).saturating_sub(1))
    }

    /// For an administrator's listing; greater is younger.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// The parts of an entry's key that stamps are compared with, as the key has them: they are compared in canonical form.
#[derive(Debug, Clone, Copy)]
pub struct KeyParts<'a> {
    /// Host.
    pub host: &'a [u8],
    /// Path and query.
    pub path: &'a [u8],
}

/// What the purges since its fetch began mean for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not concerned.
    Live,
    /// To be treated as stale.
    Soft,
    /// Not to be used at all.
    Purged,
}

/// Why a purge was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeError {
    /// Other workers kept changing the table.
    Contended,
    /// The host refused the write.
    Host,
}

/// One worker's view of the stamps.
#[derive(Debug, Default)]
pub struct InvalidationLog {
    table: StampTable,
    /// Hashes and stamps of the table's exact ones, sorted.
    index: Vec<(u64, Stamp)>,
    /// Different lengths of prefixes, sorted.
    lengths: Vec<u16>,
    /// The version last seen; differs from the table's number when two purges crossed.
    version: u32,
}

impl InvalidationLog {
    /// Creates the table. Done by the base VM, before the workers; does nothing when it is there.
    pub fn seed(map: &impl SharedMap) {
        if map.get(keys::INVALIDATION_LOG).is_none() {
            // A failure leaves the key to be made by the first purge.
            let _ = map.set(keys::INVALIDATION_LOG, &StampTable::default().encode(), None);
        }
    }

    /// The number for a fetch that begins now. Reads nothing shared: an old view gives an old number, which purges more.
    #[must_use]
    pub fn purge_generation(&self) -> PurgeGeneration {
        PurgeGeneration(self.table.sequence)
    }

    /// Takes over what other workers purged; true when there was something new. One read of 4 bytes when there was not. A
    /// damaged table purges everything.
    pub fn refresh(&mut self, map: &impl SharedMap, now_ms: Millis) -> bool {
        let version = map
            .get(keys::LAST_PURGE)
            .and_then(|(bytes, _)| u32_at(&bytes, 0))
            .unwrap_or(0);
        if version == self.version {
            return false;
        }
        let Some((bytes, cas)) = map.get(keys::INVALIDATION_LOG) else {
            return false;
        };
        self.version = version;
        let table = StampTable::decode(&bytes).unwrap_or_else(|| {
            let lost = self.after_loss(now_ms);
            // Whoever is faster writes the same thing.
            let _ = map.set(keys::INVALIDATION_LOG, &lost.encode(), Some(cas));
            lost
        });
        self.adopt(table);
        true
    }

    /// Records a purge; it is in force in this handle at once.
    ///
    /// # Errors
    /// When it could not be recorded; nothing is purged then.
    pub fn purge(
        &mut self,
        map: &impl SharedMap,
        what: &PurgeTarget,
        soft: bool,
        now_ms: Millis,
    ) -> Result<PurgeGeneration, PurgeError> {
        for _ in 0..TRIES {
            let held = map.get(keys::INVALIDATION_LOG);
            let decoded = held.as_ref().map(|(bytes, _)| StampTable::decode(bytes));
            let mut table = match decoded {
                Some(Some(table)) => table,
                Some(None) => self.after_loss(now_ms),
                None => self.table.clone(),
            };
            table.record(subject_of(what), soft, floor(now_ms));
            if let Some(tag) = searched_by(map, what) {
                table.record(subject_of(&tag), soft, floor(now_ms));
            }
            match map.set(keys::INVALIDATION_LOG, &table.encode(), held.map(|(_, cas)| cas)) {
                Ok(()) => {
                    let number = table.sequence;
                    self.adopt(table);
                    let announced = map.set(keys::LAST_PURGE, &number.to_le_bytes(), None);
                    return announced
                        .map(|()| PurgeGeneration(number))
                        .map_err(|_| PurgeError::Host);
                }
                Err(SetError::CasMismatch) => {}
                Err(SetError::Host) => return Err(PurgeError::Host),
            }
        }
        Err(PurgeError::Contended)
    }

    /// Compares an entry with the purges since its fetch began. Reads nothing shared; immediate when there were none.
    pub fn verdict<'t>(
        &self,
        purge_generation: PurgeGeneration,
        parts: &KeyParts<'_>,
        tags: impl Iterator<Item = &'t [u8]>,
    ) -> Verdict {
        if purge_generation.0 >= self.table.sequence {
            return Verdict::Live;
        }
        let stored = Stored::new(parts.host, parts.path);
        let (host, path) = (stored.host(), stored.path());
        let mut stamp = self.table.all;
        stamp.merge(self.stamp(hash(HOST, host, &[])));
        stamp.merge(self.stamp(hash(URL, host, url::without_empty_query(path))));
        for length in &self.lengths {
            let Some(prefix) = path.get(..usize::from(*length)) else {
                break;
            };
            stamp.merge(self.stamp(hash(PREFIX, host, prefix)));
            stamp.merge(self.stamp(hash(PREFIX, &[], prefix)));
        }
        for tag in tags.flat_map(names_of_tag) {
            stamp.merge(self.stamp(hash(TAG, host, tag)));
            stamp.merge(self.stamp(hash(TAG, &[], tag)));
        }
        match stamp {
            Stamp { hard, .. } if hard > purge_generation.0 => Verdict::Purged,
            Stamp { soft, .. } if soft > purge_generation.0 => Verdict::Soft,
            _ => Verdict::Live,
        }
    }

    /// Whether there was any purge yet.
    #[must_use]
    pub fn are_empty(&self) -> bool {
        self.table.sequence == 0
    }

    /// Whether everything was purged, not softly, since this purge generation.
    pub(super) fn all_purged_since(&self, purge_generation: u32) -> bool {
        self.table.all.hard > purge_generation
    }

    fn stamp(&self, hash: u64) -> Stamp {
        let mut stamp = self.table.bucket(hash);
        if let Ok(at) = self.index.binary_search_by_key(&hash, |(hash, _)| *hash) {
            stamp.merge(self.index.get(at).map(|(_, stamp)| *stamp).unwrap_or_default());
        }
        stamp
    }

    fn adopt(&mut self, table: StampTable) {
        self.index = table
            .exact
            .iter()
            .map(|exact| (exact.subject.hash, exact.stamp))
            .collect();
        self.index.sort_by_key(|(hash, _)| *hash);
        self.lengths = table.exact.iter().filter_map(|exact| exact.subject.prefix).collect();
        self.lengths.sort_unstable();
        self.lengths.dedup();
        self.table = table;
    }

    #[cfg(test)]
    pub(super) fn lengths(&self) -> usize {
        self.lengths.len()
    }

    fn after_loss(&self, now_ms: Millis) -> StampTable {
        StampTable::lost(self.table.sequence.saturating_add(1).max(floor(now_ms)))
    }
}

/// The least number a purge at this time gets: after a lost table, numbers must be beyond all purge generations so far.
fn floor(now_ms: Millis) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(u32::MAX)
}

fn hash(kind: u64, scope: &[u8], value: &[u8]) -> u64 {
    let seed = xxhash_rust::xxh3::xxh3_64_with_seed(scope, kind);
    xxhash_rust::xxh3::xxh3_64_with_seed(value, seed)
}

/// The tag of what answers other queries of the same path too, where such responses have been seen.
fn searched_by(map: &impl SharedMap, what: &PurgeTarget) -> Option<PurgeTarget> {
    let (host, path) = match what {
        PurgeTarget::Url { host, path } => (host, path),
        PurgeTarget::Prefix { host, path } if path.contains(&b'?') => (host, path),
        _ => return None,
    };
    map.get(keys::SEARCHES)
        .map(|_| PurgeTarget::tag(host, &search_tag(path)))
}

/// `None` for everything.
fn subject_of(what: &PurgeTarget) -> Option<Subject> {
    let plain = |hash| {
        Some(Subject {
            hash,
            coarse: Some(hash),
            prefix: None,
        })
    };
    match what {
        PurgeTarget::All => None,
        PurgeTarget::Host(host) => plain(hash(HOST, host, &[])),
        PurgeTarget::Url { host, path } => plain(hash(URL, host, path)),
        PurgeTarget::Tag { host, tag } => plain(hash(TAG, host, tag)),
        PurgeTarget::Prefix { host, path } | PurgeTarget::Path { host, path } => {
            // No stored path is longer; a purge cut short concerns more, not less.
            let path = path.get(..MAX_PREFIX_LEN).unwrap_or(path);
            Some(Subject {
                hash: hash(PREFIX, host, path),
                coarse: (!host.is_empty()).then(|| hash(HOST, host, &[])),
                prefix: u16::try_from(path.len()).ok(),
            })
        }
    }
}
