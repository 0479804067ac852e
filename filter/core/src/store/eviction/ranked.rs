//! Policies that compare records one by one: least recently used, least frequently used, longest stored, worth least.

use super::EvictionContext;
use crate::store::limits::Eviction;
use crate::store::page::Page;
use crate::store::record::Record;
use optimizer_proto::worth::worth;

/// The record that goes first, the older one among equals, and its rank.
pub(super) fn best(policy: Eviction, page: &Page, scene: &EvictionContext) -> Option<(usize, u64)> {
    let ranks = page
        .records
        .iter()
        .map(|record| rank(policy, record, scene))
        .enumerate();
    ranks.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

fn rank(policy: Eviction, record: &Record, scene: &EvictionContext) -> u64 {
    let idle = u64::from(record.accessed.age(scene.now));
    match policy {
        Eviction::Lfu => (u64::from(u16::MAX - record.frequency_at(scene.now)) << 32) | idle,
        Eviction::Fifo => u64::from(record.stored_age(scene.now)),
        Eviction::Gdsf => u64::MAX - worth(record.frequency_at(scene.now), record.cost(), record.weight),
        Eviction::Lru | Eviction::Sieve | Eviction::S3Fifo => idle,
    }
}
