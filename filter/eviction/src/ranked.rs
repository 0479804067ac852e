//! Policies that compare entries one by one: least recently used, least frequently used, longest stored, worth least.

use crate::policy::Policy;
use crate::queue::{Entry, Queue};
use crate::worth::worth;

/// The entry that goes first, the older one among equals, and its rank.
pub(crate) fn best(policy: Policy, page: &impl Queue) -> Option<(usize, u64)> {
    let ranks = page.entries().map(|(index, entry)| (index, rank(policy, &entry)));
    ranks.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

fn rank(policy: Policy, entry: &impl Entry) -> u64 {
    match policy {
        Policy::Lfu => (u64::from(u16::MAX - entry.frequency()) << 32) | u64::from(entry.idle()),
        Policy::Fifo => u64::from(entry.stored_age()),
        Policy::Gdsf => u64::MAX - worth(entry.frequency(), entry.cost(), entry.bytes()),
        Policy::Lru | Policy::Sieve | Policy::S3Fifo => u64::from(entry.idle()),
    }
}
