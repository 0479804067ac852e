//! The policies.

/// Which entry goes first when the cache is full. One that can no longer be used goes before any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// S3-FIFO: newcomers prove themselves in a small queue; an entry that comes back after that is known by its ghost.
    #[default]
    S3Fifo,
    /// SIEVE: a hand passes over what was used since its last pass.
    Sieve,
    /// Least recently used.
    Lru,
    /// Least frequently used, with ageing.
    Lfu,
    /// Longest stored.
    Fifo,
    /// Worth least for its memory, by hits, fetch time and size: see [`worth`](crate::worth).
    Gdsf,
}
