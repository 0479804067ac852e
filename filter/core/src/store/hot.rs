//! The responses a worker serves most, in its own memory: a hit on one reads no value of shared data where the worker knows its page
//! too, and nothing of it is checked again.
//!
//! The page stays the truth: it is looked at on every lookup, and names by its generation the very response that may be taken from
//! here. What is replaced, discarded or purged is thus never found again.

use super::record::Record;
use bytes::Bytes;

const PLACES: usize = 64;
/// Larger ones are seldom hot, and few of them would fill the budget.
const LARGEST: usize = 128 << 10;
/// Bytes a worker keeps at most, however much it may.
const BUDGET: u64 = 2 << 20;

/// Which response: its place and what stood there in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    page: u16,
    slot: u16,
    generation: u32,
    key: u64,
    variant: u32,
}

impl Name {
    pub(super) fn of(page: u16, record: &Record) -> Self {
        Self {
            page,
            slot: record.slot,
            generation: record.generation,
            key: record.key,
            variant: record.variant,
        }
    }

    fn place(self) -> usize {
        // Pages and slots are spread by hashes and small numbers already.
        (usize::from(self.page) ^ (usize::from(self.slot) << 3)) % PLACES
    }
}

#[derive(Debug)]
struct HotValue {
    name: Name,
    value: Bytes,
    len: usize,
}

/// A fixed number of places; whoever comes takes the place of whoever was there.
#[derive(Debug, Default)]
pub(super) struct Hot {
    places: Vec<Option<HotValue>>,
    bytes: usize,
}

impl Hot {
    /// The response of that very name, and its length without the trailer.
    pub(super) fn get(&self, name: Name) -> Option<(Bytes, usize)> {
        let hot_value = self.places.get(name.place())?.as_ref()?;
        (hot_value.name == name).then(|| (hot_value.value.clone(), hot_value.len))
    }

    /// Keeps a response, if one that large is to be kept where all together may take `allowed` bytes.
    pub(super) fn put(&mut self, name: Name, value: &Bytes, len: usize, allowed: u64) {
        let budget = usize::try_from(BUDGET.min(allowed)).unwrap_or(usize::MAX);
        if value.len() > LARGEST.min(budget) {
            return;
        }
        if self.bytes + value.len() > budget {
            self.clear();
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        if let Some(place) = self.places.get_mut(name.place()) {
            let value = value.clone();
            self.bytes += value.len();
            let before = place.replace(HotValue { name, value, len });
            self.bytes -= before.map_or(0, |hot_value| hot_value.value.len());
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(slot: u16, generation: u32) -> Name {
        let mut record = Record::new(1, 0, 0, 0);
        record.slot = slot;
        record.generation = generation;
        Name::of(3, &record)
    }

    #[test]
    fn only_the_very_response_is_found() {
        let mut hot = Hot::default();
        let value = Bytes::from_static(b"response");
        hot.put(name(1, 1), &value, 8, 2 << 20);
        assert_eq!(hot.get(name(1, 1)).map(|(_, len)| len), Some(8));
        assert!(hot.get(name(1, 2)).is_none(), "replaced since");
        assert!(hot.get(name(2, 1)).is_none());
    }

    #[test]
    fn the_budget_holds() {
        let mut hot = Hot::default();
        for slot in 0..500 {
            hot.put(name(slot, 1), &vec![0; 100 << 10].into(), 1, 64 << 20);
            let held: usize = hot.places.iter().flatten().map(|hot_value| hot_value.value.len()).sum();
            assert_eq!(held, hot.bytes);
            assert!(held <= 2 << 20);
        }
        hot.put(name(1, 9), &vec![0; LARGEST + 1].into(), 1, 64 << 20);
        assert!(hot.get(name(1, 9)).is_none(), "too large");
        hot.clear();
        hot.put(name(1, 9), &vec![0; 40 << 10].into(), 1, 32 << 10);
        assert!(hot.get(name(1, 9)).is_none(), "more than is allowed");
    }
}
