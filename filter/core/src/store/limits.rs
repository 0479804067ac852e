//! How much may be stored, and who goes when it is full.

/// The two limits of the store. They hold for the whole process, whatever the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Stored responses, 1..=1 000 000.
    pub entries: u32,
    /// Bytes of memory, with the overheads: values, keys, directory, allocator.
    pub bytes: u64,
    /// Largest single response in bytes as handed to [`insert`](super::Store::insert).
    pub object_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 64 << 20,
            object_bytes: 1 << 20,
        }
    }
}

/// Which response goes first when room is needed. Whatever is past its use goes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eviction {
    /// S3-FIFO: newcomers prove themselves in a small queue; what comes back after that is known by its ghost.
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
    /// Worth least for its memory, by hits, fetch time and size: see [`optimizer_proto::worth`].
    Gdsf,
}
