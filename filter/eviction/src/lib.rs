//! Which entry a cache gives up when it is full. The filter's store and the control plane's model of it (what-if) use the same rules.
//!
//! Entries lie in pages, each a queue with the oldest entry first. A few pages are sampled ([`sample`]), [`rank`] says how good a
//! victim each of them offers, and [`victim`] names the entry of the chosen page. How a page stores its entries is its owner's
//! business ([`Queue`]), and so is removing one.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod frequency;
mod marks;
mod policy;
mod queue;
mod ranked;
mod s3_fifo;
pub mod sample;
mod sieve;
#[cfg(test)]
mod tests;
pub mod worth;

pub use frequency::{HALF_LIFE_MS, aged};
pub use marks::Marks;
pub use policy::Policy;
pub use queue::{Entry, Queue};
pub use s3_fifo::{excess_ghosts, from_probation, leaves_ghost};

/// How good a victim the page offers: the page with the greatest rank goes first. `None` for an empty page.
///
/// `from_probation`: see [`from_probation`]; only S3-FIFO looks at it.
pub fn rank(policy: Policy, page: &impl Queue, from_probation: bool) -> Option<u64> {
    match policy {
        Policy::S3Fifo => s3_fifo::rank(page, from_probation),
        Policy::Sieve => sieve::rank(page),
        Policy::Lru | Policy::Lfu | Policy::Fifo | Policy::Gdsf => ranked::best(policy, page).map(|(_, rank)| rank),
    }
}

/// The index of the entry that goes. What the policy learns on the way (second chances, promotions) is written into the page.
pub fn victim(policy: Policy, page: &mut impl Queue, from_probation: bool) -> Option<usize> {
    match policy {
        Policy::S3Fifo => s3_fifo::victim(page, from_probation),
        Policy::Sieve => sieve::victim(page),
        Policy::Lru | Policy::Lfu | Policy::Fifo | Policy::Gdsf => ranked::best(policy, page).map(|(index, _)| index),
    }
}

/// Whether one more hit would change nothing of what the policy decides by. `idle` is the time since the last hit that was counted.
#[must_use]
#[inline]
pub fn is_saturated(policy: Policy, marks: Marks, idle: u32) -> bool {
    match policy {
        Policy::Lfu | Policy::Gdsf => false,
        Policy::Lru => marks.is_visited() && idle == 0,
        Policy::Sieve => marks.is_visited(),
        Policy::S3Fifo | Policy::Fifo => marks.recent_hits() == Marks::MAX_RECENT_HITS,
    }
}
