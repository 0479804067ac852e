//! The shared cache tier: stored responses of the whole fleet, in Redis or, with none configured, in this process.
//!
//! Losing it costs latency, never a request: every fault is an answer within a bound, and a miss for the Envoy that asked. What
//! it may never do is hand out what was purged; see [`control_domain::purges::tier_order`].

mod backend;
mod counters;
mod embedded;
mod entry;
mod keys;
mod record;
mod redis_store;
mod seal;

pub(crate) use crate::redis::Fault;
#[cfg(test)]
pub(crate) use embedded::MAX_LEASES;
pub(crate) use keys::KeyFile;

use crate::kernel::clock::now_ms;
use crate::kernel::sync::lock;
use crate::redis::Endpoint;
use backend::Backend;
use control_domain::purges::tier_order::{Fence, MAX_LIFE_MS, Parts, PurgeTable, Subject};
use counters::{Counters, Counts};
use embedded::Embedded;
use entry::{Id, Lease};
use optimizer_proto::v1::tier_found::Result as Found;
use optimizer_proto::v1::{TierFound, TierGet, TierPut, TierRelease};
use prost::Message as _;
use record::Record;
use redis_store::RedisStore;
use seal::Sealer;
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use utoipa::ToSchema;

/// Largest stored response taken, whatever the settings of an Envoy say.
pub(crate) const MAX_VALUE: usize = (1 << 20) + (64 << 10);
pub(crate) const MAX_KEY: usize = 64 << 10;
pub(crate) const MAX_VARY: usize = 16;
/// How often one who waits for another's fetch looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
pub(crate) const MAX_WAIT_MS: u64 = 10_000;
/// For so long nobody waits for a key whose response turned out not to be shareable.
const ALONE_MS: u64 = 10_000;

/// How the tier is set up.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Where Redis is; `None` = embedded.
    pub(crate) redis: Option<Endpoint>,
    /// Begins every key of ours.
    pub(crate) key_prefix: String,
    /// Bytes of an embedded tier.
    pub(crate) memory_bytes: u64,
    pub(crate) keys: Option<KeyFile>,
    pub(crate) compress: bool,
}

/// The shared cache tier.
#[derive(Debug)]
pub(crate) struct Tier {
    backend: Backend,
    sealer: Sealer,
    purges: Mutex<PurgeTable>,
    pub(crate) counters: Counters,
}

impl Tier {
    /// A tier; one on Redis connects by itself and serves nothing until it has.
    pub(crate) fn new(setup: Setup) -> Self {
        let mut purges = PurgeTable::default();
        let backend = match setup.redis {
            Some(endpoint) => Backend::Redis(Box::new(RedisStore::new(endpoint, &setup.key_prefix))),
            None => {
                // What an Envoy fetched before this process began may have been purged, and nobody remembers.
                purges.record(Fence::default().next(now_ms()), &Subject::All);
                Backend::Embedded(Embedded::new(setup.memory_bytes))
            }
        };
        Self {
            backend,
            sealer: Sealer::new(setup.keys, setup.compress),
            purges: Mutex::new(purges),
            counters: Counters::default(),
        }
    }

    /// Keeps the connection to Redis, and the keys fresh, until told to stop.
    pub(crate) async fn run(&self) {
        if let Backend::Redis(store) = &self.backend {
            store.run(&self.purges).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    fn table(&self) -> MutexGuard<'_, PurgeTable> {
        lock(&self.purges)
    }

    /// Answers an Envoy.
    pub(crate) async fn get(&self, request: &TierGet) -> Result<TierFound, Fault> {
        if request.key.is_empty() || request.key.len() > MAX_KEY || request.vary.len() > MAX_VARY {
            return Err(Fault::Refused("key".to_owned()));
        }
        let id = Id::of(&request.key);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(u64::from(request.wait_ms).min(MAX_WAIT_MS));
        loop {
            let mut found = self.look(&id, request).await?;
            if found.result() != Found::Miss || request.lease_ms == 0 {
                return Ok(self.counted(found));
            }
            let life = u64::from(request.lease_ms).min(MAX_WAIT_MS);
            let lease = match self.backend.lease(&id, request.holder, life).await {
                // It takes nothing more, and still hands out what it has.
                Err(Fault::Refused(_)) => Lease::Alone,
                answered => answered?,
            };
            match lease {
                Lease::Granted => {
                    Counters::add(&self.counters.leases);
                    return Ok(self.counted(found));
                }
                // Nobody may wait for it: every Envoy fetches for itself.
                Lease::Alone => return Ok(self.counted(found)),
                Lease::Other if tokio::time::Instant::now() >= deadline => {
                    found.set_result(Found::Leased);
                    return Ok(self.counted(found));
                }
                Lease::Other => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    fn counted(&self, found: TierFound) -> TierFound {
        Counters::add(match found.result() {
            Found::Hit => &self.counters.hits,
            Found::Vary => &self.counters.vary,
            Found::Leased => &self.counters.leased,
            Found::Miss | Found::Unspecified => &self.counters.misses,
        });
        found
    }

    async fn look(&self, id: &Id, request: &TierGet) -> Result<TierFound, Fault> {
        let known = self.table().known();
        let read = self.backend.read(id, request.variant, known).await?;
        let now_ms = now_ms();
        let fence = {
            let mut table = self.table();
            for (fence, subject) in &read.purges {
                table.record(*fence, subject);
            }
            table.last()
        };
        let mut found = TierFound {
            fence: Some(fence.into()),
            now_ms,
            ..TierFound::default()
        };
        if let Some(record) = read.value.and_then(|value| self.open(id, request, &value, now_ms)) {
            found.set_result(Found::Hit);
            found.value = record.value;
            found.ahead_ms = record.ahead_ms;
            return Ok(found);
        }
        let names = read.vary.as_deref().and_then(record::vary_names).unwrap_or_default();
        if names.is_empty() || names == request.vary {
            found.set_result(Found::Miss);
        } else {
            found.set_result(Found::Vary);
            found.vary = names;
        }
        Ok(found)
    }

    /// A value of the backend, if it may be handed out. Nothing in it is believed before it is checked.
    fn open(&self, id: &Id, request: &TierGet, value: &[u8], now_ms: u64) -> Option<Record> {
        let counters = &self.counters;
        let Ok(plain) = self.sealer.open(&id.variant(request.variant), value, Record::MAX_BYTES) else {
            Counters::add(&counters.damaged);
            return None;
        };
        let Ok(record) = Record::decode(plain.as_slice()) else {
            Counters::add(&counters.damaged);
            return None;
        };
        if record.key != request.key {
            Counters::add(&counters.foreign);
            return None;
        }
        let parts = Parts {
            host: &record.host,
            path: &record.path,
            tags: &record.tags,
        };
        if !self.table().hands_out(record.fence(), &parts, now_ms) {
            Counters::add(&counters.purged);
            return None;
        }
        (record.usable_until_ms > now_ms).then_some(record)
    }

    /// Takes an offer, or says why not.
    pub(crate) async fn put(&self, offer: TierPut) -> Result<Option<&'static str>, Fault> {
        let refused = |reason| {
            Counters::add(&self.counters.refused);
            Ok(Some(reason))
        };
        if offer.key.is_empty() || offer.key.len() > MAX_KEY || offer.vary.len() > MAX_VARY {
            return refused("key");
        }
        if offer.value.is_empty() || offer.value.len() > MAX_VALUE {
            return refused("size");
        }
        let now_ms = now_ms();
        let parts = Parts {
            host: &offer.host,
            path: &offer.path,
            tags: &offer.tags,
        };
        let admitted = self.table().admit(offer.fence.map(Fence::from), &parts, now_ms);
        let fence = match admitted {
            Ok(fence) => fence,
            Err(reason) => return refused(reason),
        };
        let ahead_ms = i64::try_from(now_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub(i64::try_from(offer.now_ms).unwrap_or(i64::MAX));
        let usable_until_ms = offer.usable_until_ms.saturating_add_signed(ahead_ms);
        let life_ms = usable_until_ms.saturating_sub(now_ms).min(MAX_LIFE_MS);
        if life_ms == 0 {
            return refused("expired");
        }
        let id = Id::of(&offer.key);
        let variant = offer.variant;
        let vary = record::vary_text(&offer.vary);
        let record = Record::of(offer, fence, usable_until_ms, ahead_ms);
        let Ok(value) = self.sealer.seal(&id.variant(variant), &record.encode_to_vec()) else {
            return refused("not-sealed");
        };
        self.counters.bytes.fetch_add(value.len() as u64, Ordering::Relaxed);
        self.backend.write(&id, variant, value, vary, life_ms).await?;
        Counters::add(&self.counters.stores);
        Ok(None)
    }

    /// One who held a lease does not bring the response.
    pub(crate) async fn release(&self, request: &TierRelease) -> Result<(), Fault> {
        let alone_ms = if request.not_shareable { ALONE_MS } else { 0 };
        self.backend
            .release(&Id::of(&request.key), request.holder, alone_ms)
            .await
    }

    /// Makes stored responses unusable; done when this returns, for all replicas.
    pub(crate) async fn purge(&self, subjects: &[Subject]) -> Result<Fence, Fault> {
        let mut last = Fence::default();
        for subject in subjects {
            last = match &self.backend {
                Backend::Redis(store) => {
                    let fence = store.purge(subject).await?;
                    self.table().note(fence, subject);
                    fence
                }
                Backend::Embedded(_) => {
                    let mut table = self.table();
                    let fence = table.last().next(now_ms());
                    table.record(fence, subject);
                    fence
                }
            };
            Counters::add(&self.counters.purges);
        }
        Ok(last)
    }

    /// Why the tier cannot be used at the moment.
    pub(crate) fn fault(&self) -> Option<String> {
        match &self.backend {
            Backend::Redis(store) => store.fault(),
            Backend::Embedded(_) => None,
        }
    }

    /// For operators.
    pub(crate) fn view(&self) -> TierView {
        let (backend, entries) = match &self.backend {
            Backend::Redis(store) => (store.place(), None),
            Backend::Embedded(store) => ("embedded".to_owned(), Some(store.len())),
        };
        TierView {
            backend,
            status: if self.fault().is_none() { "healthy" } else { "degraded" },
            reason: self.fault(),
            entries,
            encrypted: self.sealer.encrypts(),
            last_purge: self.table().last().to_string(),
            counters: self.counters.counts(),
        }
    }
}

/// The shared tier, for operators.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TierView {
    /// `embedded`, or where Redis is.
    backend: String,
    /// `healthy` or `degraded`.
    status: &'static str,
    /// Why it cannot be used; null when it can.
    #[schema(required = true)]
    reason: Option<String>,
    /// Stored responses; null where they are in Redis.
    #[schema(required = true)]
    entries: Option<usize>,
    /// Values are encrypted.
    encrypted: bool,
    /// Place of the last purge in their order.
    last_purge: String,
    /// Since this process began.
    counters: Counts,
}

#[cfg(test)]
mod tests;
