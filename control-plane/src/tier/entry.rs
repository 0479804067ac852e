//! What backends are asked for, and what they answer.

use control_domain::purges::tier_order::{Fence, Subject};
use xxhash_rust::xxh3::xxh3_128;

/// A key's place in the tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    /// Hash of the whole key; the key itself is inside the value and compared.
    pub(super) hash: u128,
}

impl Id {
    pub(super) fn of(key: &[u8]) -> Self {
        Self { hash: xxh3_128(key) }
    }

    /// The part of a Redis key that is the same for all that belongs to one cache key; in braces, so that a cluster keeps it
    /// together.
    pub(super) fn tag(&self) -> String {
        format!("{{{:032x}}}", self.hash)
    }

    /// Names one variant; values are bound to it.
    pub(super) fn variant(&self, variant: u64) -> String {
        format!("{}:{variant:016x}", self.tag())
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) value: Option<Vec<u8>>,
    pub(super) vary: Option<Vec<u8>>,
    /// Purges newer than those the asker knew.
    pub(super) purges: Vec<(Fence, Subject)>,
}

/// Who is to fetch a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// The asking Envoy fetches.
    Granted,
    /// Another Envoy is fetching.
    Other,
    /// Every Envoy fetches by itself.
    Alone,
}
