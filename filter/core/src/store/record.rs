//! One entry of a directory page.

use super::codec::{Tick, full_ticks, ms_to_ticks, ticks_to_ms, u16_at, u32_at, u64_at};
use super::ledger::Counts;
use crate::Millis;
use eviction::worth::{cost, replaced_cost};
use eviction::{HALF_LIFE_MS, Marks, aged};

/// Encoded length of a record.
pub(super) const RECORD_LEN: usize = 48;

/// What a record itself costs in memory: its bytes and its share of the allocator's rounding of the page.
const RECORD_COST: u32 = 52;

const STORED_MASK: u64 = (1 << 40) - 1;

/// The upper half of the flags; the lower one holds the marks.
const COST_SHIFT: u8 = 4;

const HALF_LIFE_TICKS: u32 = ms_to_ticks(HALF_LIFE_MS);

/// What the directory knows of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Hash of the whole cache key.
    pub(super) key: u64,
    /// Hash of the selecting values; 0 without `Vary`.
    pub(super) variant: u32,
    /// Number of the `Vary` set; 0 without `Vary`.
    pub(super) vary: u16,
    /// Slot within the page.
    pub(super) slot: u16,
    /// Tells this entry from earlier and later ones in the same slot.
    pub(super) generation: u32,
    /// Bytes of memory the value takes.
    pub(super) weight: u32,
    /// Ticks since the epoch, 40 bits.
    pub(super) stored: u64,
    /// When it entered the queue it is in (S3-FIFO).
    pub(super) queued: Tick,
    pub(super) accessed: Tick,
    /// Seconds since the epoch, rounded up.
    pub(super) usable_until: u32,
    pub(super) purge_generation: u32,
    /// Hits, halved with idle time.
    pub(super) frequency: u16,
    pub(super) flags: u8,
}

impl Record {
    /// A record of an entry stored now.
    pub(super) fn new(key: u64, vary: u16, variant: u32, now_ms: Millis) -> Self {
        let now = Tick::at(now_ms);
        Self {
            key,
            variant,
            vary,
            slot: 0,
            generation: 0,
            weight: 0,
            stored: full_ticks(now_ms) & STORED_MASK,
            queued: now,
            accessed: now,
            usable_until: 0,
            purge_generation: 0,
            frequency: 0,
            flags: 0,
        }
    }

    /// Takes over what policies know of the response that this one replaces.
    pub(super) fn inherit(&mut self, old: &Self) {
        self.slot = old.slot;
        self.queued = old.queued;
        self.frequency = old.frequency;
        let cost = replaced_cost(old.cost(), self.cost());
        self.flags = old.marks().bits() | (cost << COST_SHIFT);
    }

    /// What the eviction policies remember of it.
    pub(super) fn marks(&self) -> Marks {
        Marks::from_bits(self.flags)
    }

    pub(super) fn set_marks(&mut self, marks: Marks) {
        self.flags = (self.flags & !Marks::MASK) | marks.bits();
    }

    /// What it cost to fetch, as [`cost`] has it.
    pub(super) fn cost(&self) -> u8 {
        self.flags >> COST_SHIFT
    }

    pub(super) fn set_cost(&mut self, fetch_ms: Millis) {
        self.flags = self.marks().bits() | (cost(fetch_ms) << COST_SHIFT);
    }

    /// Takes hits into account, the last one at `at`.
    pub(super) fn hit(&mut self, hits: u16, at: Tick) {
        self.frequency = self.frequency_at(at).saturating_add(hits);
        if self.accessed.age(at) > 0 {
            self.accessed = at;
        }
        self.set_marks(self.marks().after_hits(hits));
    }

    /// Hits, with the ageing due by `now`.
    pub(super) fn frequency_at(&self, now: Tick) -> u16 {
        aged(self.frequency, self.accessed.age(now) / HALF_LIFE_TICKS)
    }

    pub(super) fn is_expired(&self, now_ms: Millis) -> bool {
        u64::from(self.usable_until).saturating_mul(1000) <= now_ms
    }

    /// When it was stored, rounded down to a tick.
    pub(super) fn stored_ms(&self) -> Millis {
        ticks_to_ms(self.stored)
    }

    /// Time since it was stored, in ticks.
    pub(super) fn stored_age(&self, now: Tick) -> u32 {
        Tick(self.stored as u32).age(now)
    }

    /// What it adds to the totals.
    pub(super) fn counts(&self) -> Counts {
        let bytes = u64::from(self.weight);
        Counts {
            entries: 1,
            bytes,
            probation: if self.marks().is_main() { 0 } else { bytes },
            keys: 0,
            stored: self.stored,
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: u64_at(bytes, 0)?,
            variant: u32_at(bytes, 8)?,
            vary: u16_at(bytes, 12)?,
            slot: u16_at(bytes, 14)?,
            generation: u32_at(bytes, 16)?,
            weight: u32_at(bytes, 20)?,
            stored: u64::from(u32_at(bytes, 24)?) | (u64::from(*bytes.get(47)?) << 32),
            queued: Tick(u32_at(bytes, 28)?),
            accessed: Tick(u32_at(bytes, 32)?),
            usable_until: u32_at(bytes, 36)?,
            purge_generation: u32_at(bytes, 40)?,
            frequency: u16_at(bytes, 44)?,
            flags: *bytes.get(46)?,
        })
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.key.to_le_bytes());
        into.extend_from_slice(&self.variant.to_le_bytes());
        into.extend_from_slice(&self.vary.to_le_bytes());
        into.extend_from_slice(&self.slot.to_le_bytes());
        for word in [
            self.generation,
            self.weight,
            self.stored as u32,
            self.queued.0,
            self.accessed.0,
            self.usable_until,
            self.purge_generation,
        ] {
            into.extend_from_slice(&word.to_le_bytes());
        }
        into.extend_from_slice(&self.frequency.to_le_bytes());
        into.extend_from_slice(&[self.flags, (self.stored >> 32) as u8]);
    }
}

/// Memory a value of `len` bytes takes: Envoy keeps it in an allocation of its own, whose size classes waste up to an eighth and
/// on average half of that.
pub(super) fn weight_of(len: usize) -> Option<u32> {
    let rounded = len.checked_add(len / 16)?.checked_add(16)? & !15;
    u32::try_from(rounded).ok()?.checked_add(RECORD_COST)
}

/// A moment as records keep it: whole seconds, rounded up.
pub(super) fn seconds_up(ms: Millis) -> u32 {
    u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_encoding() {
        let mut record = Record::new(7, 3, 9, 1_800_000_000_000);
        record.slot = 5;
        record.generation = 77;
        record.weight = 1000;
        record.usable_until = seconds_up(1_800_000_000_001);
        record.purge_generation = 12;
        record.set_marks(Marks::of_new(true));
        record.hit(2, Tick::at(1_800_000_005_000));
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(bytes.len(), RECORD_LEN);
        assert_eq!(Record::decode(&bytes), Some(record));
        assert_eq!(Record::decode(&bytes[..40]), None);
        let marks = record.marks();
        assert!(marks.is_main() && marks.is_visited());
        assert_eq!(marks.recent_hits(), 2);
    }

    #[test]
    fn frequency_ages_with_idle_time() {
        let mut record = Record::new(1, 0, 0, 0);
        record.hit(8, Tick::at(0));
        assert_eq!(record.frequency_at(Tick::at(599_000)), 8);
        assert_eq!(record.frequency_at(Tick::at(600_000)), 4);
        assert_eq!(record.frequency_at(Tick::at(600_000 * 20)), 0);
        record.hit(1, Tick::at(1_200_000));
        assert_eq!(record.frequency, 3);
        record.hit(u16::MAX, Tick::at(1_200_000));
        assert_eq!((record.frequency, record.marks().recent_hits()), (u16::MAX, 3));
    }

    #[test]
    fn weights_count_the_allocator() {
        assert_eq!(weight_of(0), Some(16 + 52));
        assert_eq!(weight_of(1024), Some(1104 + 52));
        assert_eq!(weight_of(usize::MAX), None);
    }
}
