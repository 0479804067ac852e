//! What a miniature cache holds, and the moment at which it is asked.

use super::keys::{KeyId, Keys};
use crate::Millis;

/// An entry, or the memory of one that left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) page: u16,
    pub(super) key: KeyId,
    /// The sampled lookup at which it entered its queue.
    pub(super) since: u32,
}

/// The keys and the present time, as policies see them.
pub(super) struct Now<'k> {
    pub(super) keys: &'k Keys,
    /// Number of the sampled lookup.
    pub(super) at: u32,
    pub(super) ms: Millis,
}
