//! How much may be stored.

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
