//! Where the tier keeps its bytes.

use super::embedded::Embedded;
use super::redis_store::RedisStore;
pub(crate) use crate::redis::Fault;
use control_domain::tier::{Fence, Subject};
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

/// Who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// The asker.
    Granted,
    /// Another.
    Other,
    /// Everybody for himself.
    Alone,
}

/// Redis, or this process.
#[derive(Debug)]
pub(super) enum Backend {
    Embedded(Embedded),
    Redis(Box<RedisStore>),
}

impl Backend {
    pub(super) async fn read(&self, id: &Id, variant: u64, after: Fence) -> Result<Read, Fault> {
        match self {
            Self::Embedded(store) => Ok(store.read(id, variant)),
            Self::Redis(store) => store.read(id, variant, after).await,
        }
    }

    pub(super) async fn write(
        &self,
        id: &Id,
        variant: u64,
        value: Vec<u8>,
        vary: Option<Vec<u8>>,
        life_ms: u64,
    ) -> Result<(), Fault> {
        match self {
            Self::Embedded(store) => {
                store.write(id, variant, value, vary);
                Ok(())
            }
            Self::Redis(store) => store.write(id, variant, value, vary, life_ms).await,
        }
    }

    /// Asks for the lease on a key.
    pub(super) async fn lease(&self, id: &Id, holder: u64, life_ms: u64) -> Result<Lease, Fault> {
        match self {
            Self::Embedded(store) => Ok(store.lease(id, holder, crate::kernel::clock::now_ms(), life_ms)),
            Self::Redis(store) => store.lease(id, holder, life_ms).await,
        }
    }

    /// Gives it back; above 0, nobody is to wait for the key for so long.
    pub(super) async fn release(&self, id: &Id, holder: u64, alone_ms: u64) -> Result<(), Fault> {
        match self {
            Self::Embedded(store) => {
                store.release(id, holder, crate::kernel::clock::now_ms(), alone_ms);
                Ok(())
            }
            Self::Redis(store) => store.release(id, holder, alone_ms).await,
        }
    }
}
