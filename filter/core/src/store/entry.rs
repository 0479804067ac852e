//! What goes into the store and what comes out of it.

use super::hot::Name;
use super::invalidation_log::PurgeGeneration;
use super::record::Record;
use crate::Millis;
use bytes::Bytes;
use std::fmt;

/// Bytes the store appends to a response. Whoever builds the value should reserve as much spare capacity, so that
/// [`insert`](super::Store::insert) moves no body.
pub const TRAILER_LEN: usize = 32;

/// A response to be stored.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The whole cache key.
    pub key: &'a [u8],
    /// Field names of the response's `Vary`; order, case and repetition do not matter. Empty without `Vary`.
    pub vary: &'a [&'a [u8]],
    /// Last moment at which the response may be used in any way (fresh, stale, after validation); from then on it is garbage.
    pub usable_until_ms: Millis,
    /// How long the origin took; 0: not known.
    pub fetch_ms: Millis,
    /// From [`InvalidationLog::purge_generation`](super::InvalidationLog::purge_generation), taken when the fetch began.
    pub purge_generation: PurgeGeneration,
    /// The encoded response with its whole key and selecting values, opaque to the store; see [`TRAILER_LEN`].
    pub value: Vec<u8>,
}

/// Names one stored response, not merely the place where it lies: once replaced or removed it names nothing.
#[derive(Debug, Clone, Copy)]
pub struct EntryId {
    pub(super) page: u16,
    pub(super) slot: u16,
    pub(super) generation: u32,
    /// A further hit would teach the policy nothing.
    pub(super) settled: bool,
}

impl EntryId {
    pub(super) fn new(page: u16, record: &Record, settled: bool) -> Self {
        Self {
            page,
            slot: record.slot,
            generation: record.generation,
            settled,
        }
    }

    /// From where on it is the next one.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor((u64::from(self.page) << 16) | u64::from(self.slot))
    }
}

impl PartialEq for EntryId {
    fn eq(&self, other: &Self) -> bool {
        (self.page, self.slot, self.generation) == (other.page, other.slot, other.generation)
    }
}

impl Eq for EntryId {}

/// A response found. The caller has yet to compare the whole key and the selecting values, and to ask for the purge verdict.
#[derive(Debug)]
pub struct Found {
    /// For [`touch`](super::Store::touch) and [`discard`](super::Store::discard).
    pub id: EntryId,
    /// Handed back by the purge verdict.
    pub purge_generation: PurgeGeneration,
    /// When it was stored, rounded down to 16 ms.
    pub stored_ms: Millis,
    pub(super) name: Name,
    pub(super) value: Bytes,
    pub(super) len: usize,
    pub(super) checked: bool,
}

impl Found {
    /// The bytes that were stored.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.value.get(..self.len).unwrap_or_default()
    }

    /// The bytes that were stored, to keep. Nothing is copied.
    #[must_use]
    pub fn into_value(self) -> Bytes {
        let mut value = self.value;
        value.truncate(self.len);
        value
    }

    /// The memory that [`value`](Self::value) is a part of.
    #[must_use]
    pub fn memory(&self) -> &Bytes {
        &self.value
    }

    /// It comes from this worker's own memory, whose content was found to be sound before it got there.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.checked
    }
}

/// What an insertion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// The new entry.
    pub id: EntryId,
    /// It took the place of a response with the same key and variant.
    pub replaced: bool,
    /// How many others had to go.
    pub evicted: u32,
}

/// Why a response was not stored. The request is served all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// Larger than a single response may be, or than a quarter of the memory limit.
    TooLarge,
    /// No space found within the work one insertion may do; what was freed helps the next.
    NoSpace,
    /// Already past its use.
    Expired,
    /// More different `Vary` sets than the store keeps.
    TooManyVarySets,
    /// Other workers kept changing the same page.
    Contended,
    /// The host refused a write.
    Host,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "response too large to be stored",
            Self::NoSpace => "no space found within the work of one insertion",
            Self::Expired => "response already past its use",
            Self::TooManyVarySets => "too many different Vary sets",
            Self::Contended => "other workers kept changing the page",
            Self::Host => "host refused the write",
        })
    }
}

/// What the store holds, for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Stored responses.
    pub entries: u64,
    /// Bytes of memory held by them, overheads included: what the memory limit is about.
    pub bytes: u64,
    /// The part of `bytes` that is keys without an entry. Shared data cannot give them back: they stay when the store shrinks,
    /// and count towards the limit only up to half of it.
    pub residue_bytes: u64,
    /// Ages (time since stored) of all entries added up.
    pub age_sum_ms: u64,
}

/// What happened in this handle since it was last asked; each event is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// Removed to make room.
    pub evictions: u64,
    /// Removed because past their use.
    pub expirations: u64,
    /// Removed because purged.
    pub purged: u64,
    /// Pages or slots that did not decode.
    pub corrupt: u64,
    /// Lookups or insertions that lost a race with another worker.
    pub races: u64,
    /// Hits forgotten because the log was full.
    pub touches_lost: u64,
}

/// Where an iteration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(pub(super) u64);

impl Cursor {
    /// For whoever keeps it between two pages.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The cursor of that number; one that never was continues somewhere or at the end.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// One stored response, as an iteration gives it.
#[derive(Debug)]
pub struct Exported {
    /// The entry.
    pub id: EntryId,
    /// What it was born with.
    pub purge_generation: PurgeGeneration,
    /// When it was stored, rounded down to 16 ms.
    pub stored_ms: Millis,
    /// Last moment of use, rounded up to a second.
    pub usable_until_ms: Millis,
    /// Hits, halved with idle time.
    pub hits: u16,
    /// The bytes that were stored.
    pub value: Vec<u8>,
}

/// One stored response, as a survey sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surveyed {
    /// Time since it was stored.
    pub age_ms: Millis,
    /// Bytes of memory it takes.
    pub bytes: u64,
}
