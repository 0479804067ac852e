//! What the queue policies remember of an entry.

const MAIN: u8 = 1;
const VISITED: u8 = 2;
const HITS_SHIFT: u8 = 2;

/// Four bits that an entry carries. All policies keep them, so that the policy can be changed while the cache is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    /// The bits that are used.
    pub const MASK: u8 = 15;
    /// Recent hits are counted up to here.
    pub const MAX_RECENT_HITS: u8 = 3;

    /// Of an entry that is stored now: with a ghost it goes straight into the main queue (S3-FIFO).
    #[must_use]
    #[inline]
    pub const fn of_new(has_ghost: bool) -> Self {
        Self(if has_ghost { MAIN } else { 0 })
    }

    /// From a byte whose other bits mean something else.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::MASK)
    }

    /// The bits, for storing.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// In the main queue (S3-FIFO).
    #[must_use]
    #[inline]
    pub const fn is_main(self) -> bool {
        self.0 & MAIN != 0
    }

    /// Used since the hand last passed (SIEVE).
    #[must_use]
    #[inline]
    pub const fn is_visited(self) -> bool {
        self.0 & VISITED != 0
    }

    /// Hits since it was last considered for eviction (S3-FIFO), at most [`Self::MAX_RECENT_HITS`].
    #[must_use]
    #[inline]
    pub const fn recent_hits(self) -> u8 {
        self.0 >> HITS_SHIFT
    }

    /// After some hits more.
    #[must_use]
    #[inline]
    pub fn after_hits(self, hits: u16) -> Self {
        let hits = u8::try_from(hits).unwrap_or(u8::MAX);
        let sum = self.recent_hits().saturating_add(hits);
        Self(self.with_recent_hits(sum).0 | VISITED)
    }

    #[inline]
    pub(crate) fn with_recent_hits(self, hits: u8) -> Self {
        Self(self.0 & (MAIN | VISITED) | hits.min(Self::MAX_RECENT_HITS) << HITS_SHIFT)
    }

    #[inline]
    pub(crate) fn promoted(self) -> Self {
        Self(self.with_recent_hits(0).0 | MAIN)
    }

    #[inline]
    pub(crate) const fn unvisited(self) -> Self {
        Self(self.0 & !VISITED)
    }
}
