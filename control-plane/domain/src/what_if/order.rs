//! The order in which keys were last looked up: how many, and how many bytes, came after a given one, in logarithmic time.

/// Places before all have to be numbered anew: a few times the keys followed.
const PLACES: usize = 1 << 14;

/// A Fenwick tree (Fenwick 1994) over places in time.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    entries: Vec<u64>,
    bytes: Vec<u64>,
    sizes: Vec<Option<u64>>,
    total: (u64, u64),
}

impl Order {
    pub(super) fn is_full(&self) -> bool {
        self.sizes.len() >= PLACES
    }

    /// A new last place.
    pub(super) fn push(&mut self, size: u64) -> u32 {
        if self.entries.is_empty() {
            // Only an Envoy that reports lookups costs the memory.
            self.entries.resize(PLACES + 1, 0);
            self.bytes.resize(PLACES + 1, 0);
        }
        let place = self.sizes.len();
        self.sizes.push(Some(size));
        self.change(place, 1, i128::from(size));
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&mut self, place: u32) {
        let place = place as usize;
        if let Some(size) = self.sizes.get_mut(place).and_then(Option::take) {
            self.change(place, -1, -i128::from(size));
        }
    }

    pub(super) fn resize(&mut self, place: u32, size: u64) {
        let place = place as usize;
        if let Some(Some(held)) = self.sizes.get_mut(place) {
            let before = std::mem::replace(held, size);
            self.change(place, 0, i128::from(size) - i128::from(before));
        }
    }

    /// Entries and bytes at later places.
    pub(super) fn after(&self, place: u32) -> (u64, u64) {
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        let mut at = place as usize + 1;
        while at > 0 {
            entries += self.entries.get(at).copied().unwrap_or(0);
            bytes += self.bytes.get(at).copied().unwrap_or(0);
            at &= at - 1;
        }
        (self.total.0.saturating_sub(entries), self.total.1.saturating_sub(bytes))
    }

    fn change(&mut self, place: usize, entries: i64, bytes: i128) {
        let moved = |value: u64, by: i128| u64::try_from((i128::from(value) + by).max(0)).unwrap_or(u64::MAX);
        let mut at = place + 1;
        while at <= PLACES {
            if let Some(sum) = self.entries.get_mut(at) {
                *sum = moved(*sum, i128::from(entries));
            }
            if let Some(sum) = self.bytes.get_mut(at) {
                *sum = moved(*sum, bytes);
            }
            at += at & at.wrapping_neg();
        }
        self.total = (moved(self.total.0, i128::from(entries)), moved(self.total.1, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_after_is_counted() {
        let mut order = Order::default();
        let places: Vec<u32> = (1..=100).map(|size| order.push(size)).collect();
        assert_eq!(order.after(places[89]), (10, (91..=100).sum()));
        order.remove(places[95]);
        order.resize(places[99], 1_000);
        assert_eq!(order.after(places[89]), (9, (91..=99).sum::<u64>() - 96 + 1_000));
        assert_eq!(order.after(places[99]), (0, 0));
    }
}
