//! The totals of the store, and where its housekeeping stands: the one record every insertion must pass.

use super::codec::{PAGE_VERSIONS, PAGES, checksum, u16_at, u32_at, u64_at};
use super::limits::Limits;

/// Memory of one key of shared data: the node of the host's hash map (a short key lies in it), its place in the buckets, and the
/// four bytes of ghost a slot may have in its page.
pub(super) const KEY_COST: u64 = 104;

/// Memory of the pages beyond their keys and records: headers and the allocator's rounding; and the keys of their versions.
const PAGES_COST: u64 = PAGES as u64 * 32 + PAGE_VERSIONS as u64 * KEY_COST;

const MAGIC: u32 = u32::from_le_bytes(*b"aog1");
const WORDS: usize = PAGES as usize / 64;
const LEN: usize = 4 + 4 + 2 * 5 * 8 + 6 + WORDS * 8;

/// Sums over entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) entries: u64,
    /// Weights of the entries.
    pub(super) bytes: u64,
    /// Weights of those that have not yet proved themselves (S3-FIFO's small queue).
    pub(super) probation: u64,
    /// Keys of shared data ever created for pages and slots.
    pub(super) keys: u64,
    /// Moments of storing, in ticks since the epoch.
    pub(super) stored: u64,
}

impl Counts {
    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            entries: with(self.entries, other.entries),
            bytes: with(self.bytes, other.bytes),
            probation: with(self.probation, other.probation),
            keys: with(self.keys, other.keys),
            stored: with(self.stored, other.stored),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    /// Memory of the entries with their keys, and of pages and keys without an entry.
    pub(super) fn memory(&self) -> (u64, u64) {
        let live = self.bytes.saturating_add(self.entries.saturating_mul(KEY_COST));
        let idle = self.keys.saturating_sub(self.entries).saturating_mul(KEY_COST);
        (live, idle.saturating_add(PAGES_COST))
    }

    /// Whether the limits hold. Keys without an entry count too, but at most as half of the limit: they can never be given
    /// back, and a store that once was large must not be choked by them for good.
    pub(super) fn fits(&self, limits: &Limits) -> bool {
        let (live, residue) = self.memory();
        self.entries <= u64::from(limits.entries.max(1))
            && live.saturating_add(residue.min(limits.bytes / 2)) <= limits.bytes
    }
}

/// A change of the totals: added first, taken off then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Change {
    pub(super) plus: Counts,
    pub(super) minus: Counts,
}

impl Change {
    pub(super) fn apply(&self, to: Counts) -> Counts {
        to.plus(self.plus).minus(self.minus)
    }

    /// What undoes it.
    pub(super) fn inverse(&self) -> Self {
        Self {
            plus: self.minus,
            minus: self.plus,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.plus = self.plus.plus(other.plus);
        self.minus = self.minus.plus(other.minus);
    }
}

/// The totals and the state of the housekeeping.
///
/// `total` is never less than what the pages hold: room is reserved before an entry appears and released after it is gone. A
/// worker that dies in between leaves it too high, so a sweep over all pages counts again into `recount`, which takes the place
/// of `total` when the sweep is through, if it is smaller. A page marked with the sweep's `epoch` has been counted; every reservation goes into both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) total: Counts,
    pub(super) recount: Counts,
    /// Number of the sweep under way.
    pub(super) epoch: u8,
    /// Sweeps to go until the total is no longer suspected of being too small.
    pub(super) doubtful: u8,
    /// Next page of the sweep.
    pub(super) cursor: u16,
    /// Next page to look for victims.
    pub(super) hand: u16,
    /// Which pages probably have entries. A hint: the sweep corrects it.
    occupied: [u64; WORDS],
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            total: Counts::default(),
            recount: Counts::default(),
            epoch: 1,
            doubtful: 0,
            cursor: 0,
            hand: 0,
            occupied: [0; WORDS],
        }
    }
}

impl Ledger {
    pub(super) fn set_occupied(&mut self, page: u16, occupied: bool) {
        if let Some(word) = self.occupied.get_mut(usize::from(page) / 64) {
            let bit = 1 << (page % 64);
            *word = if occupied { *word | bit } else { *word & !bit };
        }
    }

    /// The first page at or after `from`, going round, that probably has entries.
    pub(super) fn next_occupied(&self, from: u16) -> Option<u16> {
        let start = usize::from(from % PAGES);
        for step in 0..=WORDS {
            let index = (start / 64 + step) % WORDS;
            let mut word = *self.occupied.get(index)?;
            if step == 0 {
                word &= u64::MAX << (start % 64);
            }
            if word != 0 {
                return u16::try_from(index * 64 + word.trailing_zeros() as usize).ok();
            }
        }
        None
    }

    /// Ends the sweep under way. What it counted may be too much just as the total may, so the smaller of the two is nearer to
    /// the truth; only after a rebuild the total may be too small.
    pub(super) fn finish_sweep(&mut self) {
        self.total = if self.doubtful > 0 {
            self.recount
        } else {
            Counts {
                // No limit rests on this sum, only a mean age: too small would be as wrong as too large, and would stay.
                stored: self.recount.stored,
                ..self.total.zip(self.recount, u64::min)
            }
        };
        self.doubtful = self.doubtful.saturating_sub(1);
        self.recount = Counts::default();
        self.epoch = self.epoch.wrapping_add(1);
        self.cursor = 0;
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != LEN || u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != checksum(&[], bytes.get(8..)?) {
            return None;
        }
        let counts = |at: usize| {
            Some(Counts {
                entries: u64_at(bytes, at)?,
                bytes: u64_at(bytes, at + 8)?,
                probation: u64_at(bytes, at + 16)?,
                keys: u64_at(bytes, at + 24)?,
                stored: u64_at(bytes, at + 32)?,
            })
        };
        let mut occupied = [0; WORDS];
        for (index, word) in occupied.iter_mut().enumerate() {
            *word = u64_at(bytes, 94 + index * 8)?;
        }
        Some(Self {
            total: counts(8)?,
            recount: counts(48)?,
            epoch: *bytes.get(88)?,
            doubtful: *bytes.get(89)?,
            cursor: u16_at(bytes, 90)?,
            hand: u16_at(bytes, 92)?,
            occupied,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for counts in [&self.total, &self.recount] {
            for word in [
                counts.entries,
                counts.bytes,
                counts.probation,
                counts.keys,
                counts.stored,
            ] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&[self.epoch, self.doubtful]);
        bytes.extend_from_slice(&self.cursor.to_le_bytes());
        bytes.extend_from_slice(&self.hand.to_le_bytes());
        for word in self.occupied {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&[], bytes.get(8..).unwrap_or_default());
        if let Some(field) = bytes.get_mut(4..8) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: u64) -> Counts {
        Counts {
            entries,
            bytes: entries * 100,
            probation: entries * 10,
            keys: entries + 1,
            stored: entries * 7,
        }
    }

    #[test]
    fn a_ledger_survives_encoding_and_a_flipped_bit_is_seen() {
        let mut ledger = Ledger {
            total: counts(5),
            recount: counts(2),
            epoch: 9,
            doubtful: 1,
            cursor: 3,
            hand: 1023,
            ..Ledger::default()
        };
        ledger.set_occupied(1023, true);
        let bytes = ledger.encode();
        assert_eq!(Ledger::decode(&bytes), Some(ledger));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(Ledger::decode(&bad), None, "byte {at}");
        }
        assert_eq!(Ledger::decode(&bytes[1..]), None);
    }

    #[test]
    fn occupied_pages_are_found_going_round() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.next_occupied(5), None);
        ledger.set_occupied(3, true);
        ledger.set_occupied(700, true);
        assert_eq!(ledger.next_occupied(0), Some(3));
        assert_eq!(ledger.next_occupied(4), Some(700));
        assert_eq!(ledger.next_occupied(701), Some(3));
        assert_eq!(ledger.next_occupied(1023), Some(3));
        ledger.set_occupied(3, false);
        assert_eq!(ledger.next_occupied(701), Some(700));
    }

    #[test]
    fn residue_cannot_choke_a_small_limit() {
        let limits = Limits {
            entries: 10,
            bytes: 1 << 20,
            object_bytes: 1 << 20,
        };
        let huge = Counts {
            entries: 1,
            bytes: 1000,
            keys: 1_000_000,
            ..Counts::default()
        };
        assert!(huge.fits(&limits));
        let too_much = Counts { bytes: 600_000, ..huge };
        assert!(!too_much.fits(&limits));
        assert!(Counts { keys: 1, ..too_much }.fits(&limits));
    }
}
