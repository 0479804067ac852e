//! One worker's handle on the store.

use super::entry::{Cursor, Entry, EntryId, Events, Exported, Found, Inserted, StoreError, Usage};
use super::limits::{Eviction, Limits};
use super::stamps::Stamps;
use super::vary::VaryNames;
use crate::Millis;
use crate::shared_map::SharedMap;

/// One worker's handle on the store: configuration, caches, and hits not yet written back. Dropping it loses nothing else.
#[derive(Debug, Default)]
pub struct Store {
    limits: Limits,
    policy: Eviction,
}

impl Store {
    /// A handle with these limits.
    #[must_use]
    pub fn new(limits: Limits, policy: Eviction) -> Self {
        Self { limits, policy }
    }

    /// Creates the keys whose creation must not race. Done by the base VM, which runs before the workers; does nothing when
    /// they are there already (an entry survives a new VM and new code).
    pub fn seed(map: &impl SharedMap) {
        let _ = map;
    }

    /// Changes limits and policy. Nothing is evicted here: [`maintain`](Self::maintain) shrinks the store in bounded steps.
    pub fn configure(&mut self, limits: Limits, policy: Eviction) {
        self.limits = limits;
        self.policy = policy;
    }

    /// Finds the response for a key: two reads when there is one, one when there is none (one more per race lost).
    ///
    /// `variant` hashes the request's values of the named fields; it is called once for each different `Vary` set stored
    /// under the key, not for a response without `Vary`. It must give what it gave to [`insert`](Self::insert) for the same
    /// values. Among several matches the last stored one is returned.
    pub fn lookup(
        &mut self,
        map: &impl SharedMap,
        key: &[u8],
        variant: impl FnMut(VaryNames<'_>) -> u64,
        now_ms: Millis,
    ) -> Option<Found> {
        let _ = (map, key, variant, now_ms);
        None
    }

    /// Stores a response, replacing the one with the same key and variant, evicting others where needed. When it returns, the
    /// limits hold.
    ///
    /// # Errors
    /// When it was not stored; an older response with the same key may then be gone too.
    pub fn insert(
        &mut self,
        map: &impl SharedMap,
        entry: Entry<'_>,
        variant: impl FnOnce(VaryNames<'_>) -> u64,
        now_ms: Millis,
    ) -> Result<Inserted, StoreError> {
        let _ = (map, entry, variant, now_ms);
        Err(StoreError::Host)
    }

    /// Notes a hit. Writes nothing shared; [`flush`](Self::flush) does.
    pub fn touch(&mut self, id: EntryId, now_ms: Millis) {
        let _ = (id, now_ms);
    }

    /// Writes noted hits back into the directory, at most `pages` pages of it. A host that fails, or a race lost, costs the
    /// notes.
    pub fn flush(&mut self, map: &impl SharedMap, pages: usize) {
        let _ = (map, pages);
    }

    /// Removes all variants of a key; the number removed.
    pub fn remove(&mut self, map: &impl SharedMap, key: &[u8]) -> usize {
        let _ = (map, key);
        0
    }

    /// Removes exactly this entry, if it is still there: purged, of no use any more.
    pub fn discard(&mut self, map: &impl SharedMap, id: EntryId) -> bool {
        let _ = (map, id);
        false
    }

    /// Removes exactly this entry because its content does not decode; counted as corrupt.
    pub fn discard_corrupt(&mut self, map: &impl SharedMap, id: EntryId) -> bool {
        let _ = (map, id);
        false
    }

    /// Bounded housekeeping for a tick: shrinks to the limits, removes what expired or was purged as a whole, recounts the
    /// totals. Reads at most about `budget` pages; true when the limits are still exceeded and another call should follow.
    pub fn maintain(&mut self, map: &impl SharedMap, stamps: &Stamps, budget: usize, now_ms: Millis) -> bool {
        let _ = (map, stamps, budget, now_ms);
        false
    }

    /// What the process holds. One read.
    pub fn usage(&self, map: &impl SharedMap, now_ms: Millis) -> Usage {
        let _ = (map, now_ms);
        Usage::default()
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Events {
        Events::default()
    }

    /// Up to `count` stored responses from `cursor` on (start with the default), reading at most `8 * count + 64` pages; `None`
    /// as the next cursor at the end. What is stored, replaced or removed meanwhile may or may not be seen.
    pub fn iterate(
        &mut self,
        map: &impl SharedMap,
        cursor: Cursor,
        count: usize,
        now_ms: Millis,
    ) -> (Vec<Exported>, Option<Cursor>) {
        let _ = (map, cursor, count, now_ms);
        (Vec::new(), None)
    }
}
