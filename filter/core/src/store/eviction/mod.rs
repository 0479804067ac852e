//! Who goes first. Policies see single pages: they say how willing a page is to give an entry up, and name the victim of the page
//! that was chosen. Removing is the store's business.

mod ranked;
mod s3_fifo;
mod sieve;

use super::codec::Tick;
use super::limits::Eviction;
use super::page::Page;

/// What a policy is told besides the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct EvictionContext {
    pub(super) now: Tick,
    /// The newcomers of S3-FIFO hold more than their share.
    pub(super) from_probation: bool,
}

/// How good a victim the page offers; greater goes first. `None` for an empty page. Changes nothing.
pub(super) fn willingness(policy: Eviction, page: &Page, scene: &EvictionContext) -> Option<u64> {
    match policy {
        Eviction::S3Fifo => s3_fifo::willingness(page, scene),
        Eviction::Sieve => sieve::willingness(page, scene),
        Eviction::Lru | Eviction::Lfu | Eviction::Fifo | Eviction::Gdsf => {
            ranked::best(policy, page, scene).map(|(_, rank)| rank)
        }
    }
}

/// The index of the record that goes. What the policy learns on the way (second chances, promotions) is written into the page.
pub(super) fn victim(policy: Eviction, page: &mut Page, scene: &EvictionContext) -> Option<usize> {
    match policy {
        Eviction::S3Fifo => s3_fifo::victim(page, scene),
        Eviction::Sieve => sieve::victim(page),
        Eviction::Lru | Eviction::Lfu | Eviction::Fifo | Eviction::Gdsf => {
            ranked::best(policy, page, scene).map(|(index, _)| index)
        }
    }
}
