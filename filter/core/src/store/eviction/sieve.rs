//! SIEVE (Zhang et al., NSDI 2024), one hand for each page: it passes over records that were used, oldest first, taking their
//! mark, and stops at the first without one. Survivors keep their place.

use super::EvictionContext;
use crate::store::page::Page;

/// Age of the record at which the hand would stop; pages where all were used come last.
pub(super) fn willingness(page: &Page, scene: &EvictionContext) -> Option<u64> {
    let hand = usize::from(page.hand);
    let round = || page.records.iter().skip(hand).chain(page.records.iter().take(hand));
    let unused = round().find(|record| !record.is_visited());
    let record = unused.or_else(|| round().next())?;
    let class = u64::from(unused.is_some()) << 32;
    Some(class | u64::from(record.stored_age(scene.now)))
}

/// Moves the hand to the record that goes.
pub(super) fn victim(page: &mut Page) -> Option<usize> {
    let len = page.records.len();
    let mut at = usize::from(page.hand);
    for _ in 0..=2 * len {
        if at >= len {
            at = 0;
        }
        let record = page.records.get_mut(at)?;
        if !record.is_visited() {
            break;
        }
        record.clear_visited();
        at += 1;
    }
    page.hand = u16::try_from(at).unwrap_or(0);
    Some(at)
}
