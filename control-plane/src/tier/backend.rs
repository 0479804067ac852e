//! Where the tier keeps its bytes.

use super::embedded::Embedded;
use super::entry::{Id, Lease, Read};
use super::redis_store::RedisStore;
use crate::redis::Fault;
use control_domain::purges::tier_order::Known;

/// Redis, or this process.
#[derive(Debug)]
pub(super) enum Backend {
    Embedded(Embedded),
    Redis(Box<RedisStore>),
}

impl Backend {
    pub(super) async fn read(&self, id: &Id, variant: u64, known: Known) -> Result<Read, Fault> {
        match self {
            Self::Embedded(store) => Ok(store.read(id, variant)),
            Self::Redis(store) => store.read(id, variant, known).await,
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

    /// Releases it. `alone_ms` above 0: for this time every Envoy fetches the key by itself.
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
