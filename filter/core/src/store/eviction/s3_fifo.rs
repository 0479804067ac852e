//! S3-FIFO (Yang et al., SOSP 2023) on pages: newcomers wait in a small queue and reach the main queue only if used again; the
//! main queue gives second chances; who left the small queue leaves a ghost, and comes back into the main queue. The order of a
//! page's records is the order of both queues.

use super::EvictionContext;
use crate::store::page::Page;

/// Hits that a newcomer needs to stay.
const PROMOTION: u8 = 1;

/// Age in its queue of the record that would go.
pub(super) fn willingness(page: &Page, scene: &EvictionContext) -> Option<u64> {
    let age = |record: &crate::store::record::Record| u64::from(record.queued.age(scene.now));
    let newcomer = page
        .records
        .iter()
        .find(|record| !record.is_main() && record.warmth() < PROMOTION);
    let settled = page
        .records
        .iter()
        .find(|record| record.is_main() && record.warmth() == 0);
    let (first, second) = if scene.from_probation {
        (newcomer, settled)
    } else {
        (settled, newcomer)
    };
    first
        .map(|record| (2 << 32) | age(record))
        .or_else(|| second.map(|record| (1 << 32) | age(record)))
        .or_else(|| page.records.first().map(age))
}

/// Promotes, gives second chances, and stops at the record that goes.
pub(super) fn victim(page: &mut Page, scene: &EvictionContext) -> Option<usize> {
    if scene.from_probation
        && let Some(index) = newcomer(page, scene)
    {
        return Some(index);
    }
    settled(page, scene)
        .or_else(|| newcomer(page, scene))
        .or_else(|| settled(page, scene))
}

fn newcomer(page: &mut Page, scene: &EvictionContext) -> Option<usize> {
    for _ in 0..page.records.len() {
        let index = page.records.iter().position(|record| !record.is_main())?;
        if page.records.get(index)?.warmth() < PROMOTION {
            return Some(index);
        }
        let mut record = page.take(index)?;
        record.set_main();
        record.set_warmth(0);
        record.queued = scene.now;
        page.records.push(record);
    }
    None
}

fn settled(page: &mut Page, scene: &EvictionContext) -> Option<usize> {
    // Each record has at most three chances.
    for _ in 0..=4 * page.records.len() {
        let index = page.records.iter().position(crate::store::record::Record::is_main)?;
        let warmth = page.records.get(index)?.warmth();
        if warmth == 0 {
            return Some(index);
        }
        let mut record = page.take(index)?;
        record.set_warmth(warmth - 1);
        record.queued = scene.now;
        page.records.push(record);
    }
    None
}
