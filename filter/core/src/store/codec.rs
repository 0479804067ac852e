//! Little-endian fields at fixed places, names of shared keys, and time as the directory counts it.

use crate::Millis;
use crate::shared_map::keys;
pub(super) use eviction::sample::PAGES;

/// Versions of directory pages. Several pages share one: a change of one of them then has the others read again, and a version for
/// each would be 100 KB of keys.
pub(super) const PAGE_VERSIONS: u16 = 64;

/// Key of the version of a directory page.
pub(super) fn page_version_key(page: u16) -> [u8; 6] {
    keys::page_version(page % PAGE_VERSIONS)
}

/// Hash of a whole cache key.
pub(super) fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The page in charge of a key.
pub(super) fn page_of(hash: u64) -> u16 {
    // The remainder is below PAGES.
    u16::try_from(hash >> 32 & u64::from(PAGES - 1)).unwrap_or(0)
}

/// Checksum of a head and a tail.
pub(super) fn checksum(head: &[u8], tail: &[u8]) -> u32 {
    let seed = xxhash_rust::xxh3::xxh3_64(head);
    let sum = xxhash_rust::xxh3::xxh3_64_with_seed(tail, seed);
    (sum ^ (sum >> 32)) as u32
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at.checked_add(2)?)?
        .try_into()
        .ok()
        .map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at.checked_add(8)?)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

/// Milliseconds per tick of the directory, as a shift.
const TICK_SHIFT: u32 = 4;

/// Time in ticks of 16 ms. Wraps after two years; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    pub(super) fn at(now_ms: Millis) -> Self {
        Self((now_ms >> TICK_SHIFT) as u32)
    }

    /// Ticks from here to `now`; 0 when the clock was set back meanwhile.
    pub(super) fn age(self, now: Self) -> u32 {
        u32::try_from(now.0.wrapping_sub(self.0).cast_signed()).unwrap_or(0)
    }
}

/// Milliseconds of a count of ticks.
pub(super) fn ticks_to_ms(ticks: u64) -> u64 {
    ticks << TICK_SHIFT
}

/// Ticks of a time span.
pub(super) const fn ms_to_ticks(ms: u32) -> u32 {
    ms >> TICK_SHIFT
}

/// Ticks of a time from the epoch on, without a wrap.
pub(super) fn full_ticks(now_ms: Millis) -> u64 {
    now_ms >> TICK_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinct_and_short() {
        let mut seen = std::collections::HashSet::new();
        for page in [0, 1, 0x123, PAGES - 1] {
            assert!(seen.insert(keys::page(page).to_vec()));
            for slot in [0, 1, 0xfff, u16::MAX] {
                assert!(seen.insert(keys::slot(page, slot).to_vec()));
            }
        }
        assert_eq!(&keys::slot(0x12, 0xabc), b"ao/s00120abc");
    }

    #[test]
    fn ticks_survive_the_wrap_and_a_clock_set_back() {
        let wrap_ms = 1_u64 << 36;
        let before = Tick::at(wrap_ms - 1600);
        assert_eq!(before.age(Tick::at(wrap_ms + 1600)), 200);
        let later = Tick::at(wrap_ms + 1600);
        assert_eq!(later.age(Tick::at(wrap_ms)), 0);
    }
}
