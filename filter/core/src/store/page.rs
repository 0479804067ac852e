//! A directory page: the records of all entries whose key hashes to it, oldest first, and the ghosts of some that left.

use super::codec::{checksum, u16_at, u32_at, u64_at};
use super::ledger::Counts;
use super::record::{RECORD_LEN, Record};
use eviction::excess_ghosts;

const MAGIC: u16 = u16::from_le_bytes(*b"p1");
const HEADER: usize = 20;
const GHOST_LEN: usize = 4;

/// Responses kept under one key; a `Vary` on something unbounded must not fill the page.
pub(super) const VARIANTS: usize = 64;

/// What a page holds, in the form in which it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Generation of the next entry.
    pub(super) next_generation: u32,
    /// The last sweep that counted this page.
    pub(super) epoch: u8,
    /// Slots ever used.
    pub(super) high: u16,
    /// Where SIEVE's hand points to.
    pub(super) hand: u16,
    pub(super) records: Vec<Record>,
    /// Fingerprints of entries that left without having proved themselves, oldest first.
    pub(super) ghosts: Vec<u32>,
}

impl Page {
    /// A page without entries, counted in sweep `epoch`. Generations start with a seed: after a page was lost, a slot left over
    /// must not fit a new record by chance.
    pub(super) fn new(epoch: u8, seed: u32) -> Self {
        Self {
            next_generation: seed.wrapping_mul(0x9e37_79b1),
            epoch,
            high: 0,
            hand: 0,
            records: Vec::new(),
            ghosts: Vec::new(),
        }
    }

    /// What the page adds to the totals, its own key included.
    pub(super) fn counts(&self) -> Counts {
        let keys = Counts {
            keys: u64::from(self.high) + 1,
            ..Counts::default()
        };
        self.records.iter().fold(keys, |sum, record| sum.plus(record.counts()))
    }

    /// The lowest slot that no record uses.
    pub(super) fn free_slot(&self) -> Option<u16> {
        self.free_slots()
            .next()
            .or(Some(self.high))
            .filter(|slot| *slot < u16::MAX)
    }

    /// The slots once used that no record uses now.
    pub(super) fn free_slots(&self) -> impl Iterator<Item = u16> + use<> {
        let mut used = vec![false; usize::from(self.high)];
        for record in &self.records {
            if let Some(used) = used.get_mut(usize::from(record.slot)) {
                *used = true;
            }
        }
        (0..self.high).zip(used).filter(|(_, used)| !used).map(|(slot, _)| slot)
    }

    /// Takes out the record at `index`, keeping SIEVE's hand on the record it points to.
    pub(super) fn take(&mut self, index: usize) -> Option<Record> {
        if index >= self.records.len() {
            return None;
        }
        if index < usize::from(self.hand) {
            self.hand -= 1;
        }
        Some(self.records.remove(index))
    }

    /// Remembers an entry that left.
    pub(super) fn add_ghost(&mut self, fingerprint: u32) {
        self.ghosts.push(fingerprint);
        let excess = excess_ghosts(self.ghosts.len(), self.high);
        self.ghosts.drain(..excess);
    }

    /// Forgets a ghost; true when it was there.
    pub(super) fn take_ghost(&mut self, fingerprint: u32) -> bool {
        let found = self.ghosts.iter().position(|ghost| *ghost == fingerprint);
        found.map(|at| self.ghosts.remove(at)).is_some()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let records = raw_records(bytes)?;
        let ghosts = bytes.get(HEADER + records.len()..)?;
        if u32_at(bytes, 16)? != checksum(bytes.get(..16)?, bytes.get(HEADER..)?) {
            return None;
        }
        let page = Self {
            next_generation: u32_at(bytes, 4)?,
            epoch: *bytes.get(8)?,
            high: u16_at(bytes, 10)?,
            hand: u16_at(bytes, 14)?,
            records: records
                .chunks_exact(RECORD_LEN)
                .map(Record::decode)
                .collect::<Option<_>>()?,
            ghosts: ghosts
                .chunks_exact(GHOST_LEN)
                .map(|ghost| u32_at(ghost, 0))
                .collect::<Option<_>>()?,
        };
        page.records
            .iter()
            .all(|record| record.slot < page.high)
            .then_some(page)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (Ok(count), Ok(ghosts)) = (u16::try_from(self.records.len()), u16::try_from(self.ghosts.len())) else {
            return Vec::new();
        };
        let mut bytes = Vec::with_capacity(HEADER + self.records.len() * RECORD_LEN + self.ghosts.len() * GHOST_LEN);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&self.next_generation.to_le_bytes());
        bytes.extend_from_slice(&[self.epoch, 0]);
        bytes.extend_from_slice(&self.high.to_le_bytes());
        bytes.extend_from_slice(&ghosts.to_le_bytes());
        bytes.extend_from_slice(&self.hand.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for record in &self.records {
            record.encode(&mut bytes);
        }
        for ghost in &self.ghosts {
            bytes.extend_from_slice(&ghost.to_le_bytes());
        }
        let sum = checksum(
            bytes.get(..16).unwrap_or_default(),
            bytes.get(HEADER..).unwrap_or_default(),
        );
        if let Some(field) = bytes.get_mut(16..HEADER) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
        bytes
    }
}

/// The records' bytes of a page, if its form is right. The checksum is left to those who change pages: a lookup that follows a
/// damaged record ends at a slot that does not fit it.
fn raw_records(bytes: &[u8]) -> Option<&[u8]> {
    let records = usize::from(u16_at(bytes, 2)?) * RECORD_LEN;
    let ghosts = usize::from(u16_at(bytes, 12)?) * GHOST_LEN;
    if u16_at(bytes, 0)? != MAGIC || bytes.len() != HEADER + records + ghosts {
        return None;
    }
    bytes.get(HEADER..HEADER + records)
}

/// The records of one key, without decoding the page; `None` when the page has not the right form.
pub(super) fn records_of(bytes: &[u8], key: u64) -> Option<impl Iterator<Item = Record> + '_> {
    let wanted = key.to_le_bytes();
    let records = raw_records(bytes)?.chunks_exact(RECORD_LEN);
    Some(
        records
            .filter(move |record| record.starts_with(&wanted))
            .filter_map(Record::decode),
    )
}

/// Whether a page has this record of that key, without decoding it.
pub(super) fn has_record(bytes: &[u8], key: u64, slot: u16, generation: u32) -> bool {
    records_of(bytes, key)
        .is_some_and(|mut records| records.any(|record| record.slot == slot && record.generation == generation))
}

/// A short name for a key's variant, for ghosts.
pub(super) fn fingerprint(key: u64, variant: u32) -> u32 {
    // The upper half of the hash is partly fixed within a page.
    (key as u32) ^ variant.rotate_left(16)
}

/// The key hash at the front of an encoded record or slot trailer.
pub(super) fn leading_hash(bytes: &[u8]) -> Option<u64> {
    u64_at(bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::new(3, 1000);
        page.high = 5;
        for slot in [0, 1, 3] {
            let mut record = Record::new(u64::from(slot) + 100, 0, 0, 1000);
            record.slot = slot;
            record.generation = u32::from(slot) + 7;
            record.weight = 10;
            page.records.push(record);
        }
        page.add_ghost(11);
        page.add_ghost(12);
        page
    }

    #[test]
    fn a_page_survives_encoding_and_a_flipped_bit_is_seen() {
        let bytes = page().encode();
        assert_eq!(Page::decode(&bytes), Some(page()));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Page::decode(&bad), None, "byte {at}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Page::decode(&bytes[..len]), None);
            assert!(records_of(&bytes[..len], 100).is_none());
        }
    }

    #[test]
    fn slots_are_used_from_below() {
        let mut page = page();
        assert_eq!(page.free_slot(), Some(2));
        page.take(0);
        assert_eq!(page.free_slot(), Some(0));
        page.records.clear();
        page.high = 64;
        page.records = (0..64)
            .map(|slot| Record {
                slot,
                ..Record::new(1, 0, 0, 0)
            })
            .collect();
        assert_eq!(page.free_slot(), Some(64));
    }

    #[test]
    fn the_hand_stays_on_its_record() {
        let mut page = page();
        page.hand = 2;
        page.take(0);
        assert_eq!(page.hand, 1);
        page.take(1);
        assert_eq!(page.hand, 1);
        assert_eq!(page.take(9), None);
    }

    #[test]
    fn ghosts_are_bounded_and_found_once() {
        let mut page = page();
        for ghost in 20..40 {
            page.add_ghost(ghost);
        }
        assert_eq!(page.ghosts, vec![35, 36, 37, 38, 39]);
        assert!(page.take_ghost(37));
        assert!(!page.take_ghost(37));
    }

    #[test]
    fn records_are_found_without_decoding() {
        let bytes = page().encode();
        assert_eq!(records_of(&bytes, 101).unwrap().count(), 1);
        assert!(has_record(&bytes, 101, 1, 8));
        assert!(!has_record(&bytes, 101, 1, 9));
        assert_eq!(records_of(&bytes, 999).unwrap().count(), 0);
    }
}
