//! Words and limits of the cache itself.

/// In which order stored responses make room for new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EvictionPolicy {
    /// S3-FIFO: new entries prove themselves in a small queue first, so a scan does not empty the cache.
    #[default]
    S3Fifo,
    /// SIEVE: one queue, one hand that spares what was used since it last passed.
    Sieve,
    /// Least recently used first.
    Lru,
    /// Least frequently used first.
    Lfu,
    /// Oldest first.
    Fifo,
    /// What saves the origin least for the memory it takes first: hits, fetch time, size.
    Gdsf,
}

impl EvictionPolicy {
    /// Every policy with its word in the document.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("s3_fifo", Self::S3Fifo),
        ("sieve", Self::Sieve),
        ("lru", Self::Lru),
        ("lfu", Self::Lfu),
        ("fifo", Self::Fifo),
        ("gdsf", Self::Gdsf),
    ];

    /// The word in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

/// The class words `cache_size` takes and the entries they mean.
pub const CACHE_SIZE_CLASSES: [(&str, u64); 3] = [("small", 1_000), ("medium", 10_000), ("large", 100_000)];
