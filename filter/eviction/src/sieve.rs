//! SIEVE (Zhang et al., NSDI 2024), one hand for each page: it passes over entries that were used, oldest first, taking their
//! mark, and stops at the first without one. Survivors keep their place.

use crate::queue::{Entry, Queue};

/// Age of the entry at which the hand would stop; pages where all were used come last.
pub(crate) fn rank(page: &impl Queue) -> Option<u64> {
    let len = page.len();
    let hand = if page.hand() < len { page.hand() } else { 0 };
    let mut round = (hand..len).chain(0..hand).filter_map(|index| page.entry(index));
    match round.find(|entry| !entry.marks().is_visited()) {
        Some(unused) => Some(1 << 32 | u64::from(unused.stored_age())),
        None => Some(u64::from(page.entry(hand)?.stored_age())),
    }
}

/// Moves the hand to the entry that goes.
pub(crate) fn victim(page: &mut impl Queue) -> Option<usize> {
    let mut at = page.hand();
    for _ in 0..=2 * page.len() {
        if at >= page.len() {
            at = 0;
        }
        let marks = page.entry(at)?.marks();
        if !marks.is_visited() {
            break;
        }
        page.set_marks(at, marks.unvisited());
        at += 1;
    }
    page.set_hand(at);
    Some(at)
}
