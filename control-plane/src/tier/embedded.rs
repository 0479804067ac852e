//! A tier in this process: bounded, and gone with it.

use super::entry::{Id, Lease, Read};
use crate::kernel::sync::lock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::sync::Mutex;

/// A value of usual size, to begin with the right number of places.
const USUAL: u64 = 8 << 10;
/// Leases remembered; beyond that everybody fetches for himself.
pub(crate) const MAX_LEASES: usize = 100_000;
/// Stands for the names of the selecting fields.
const VARY: Option<u64> = None;

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<(u128, Option<u64>), Vec<u8>> for Bytes {
    fn weight(&self, _: &(u128, Option<u64>), value: &Vec<u8>) -> u64 {
        // The key and its place in the table.
        value.len() as u64 + 96
    }
}

#[derive(Debug, Clone, Copy)]
struct Held {
    /// 0: nobody is to wait.
    holder: u64,
    until_ms: u64,
}

/// The store.
#[derive(Debug)]
pub(super) struct Embedded {
    values: Cache<(u128, Option<u64>), Vec<u8>, Bytes>,
    leases: Mutex<HashMap<u128, Held>>,
}

impl Embedded {
    pub(super) fn new(memory_bytes: u64) -> Self {
        let places = usize::try_from(memory_bytes / USUAL)
            .unwrap_or(1 << 20)
            .clamp(64, 1 << 20);
        Self {
            values: Cache::with_weighter(places, memory_bytes, Bytes),
            leases: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn read(&self, id: &Id, variant: u64) -> Read {
        Read {
            value: self.values.get(&(id.hash, Some(variant))),
            vary: self.values.get(&(id.hash, VARY)),
            purges: Vec::new(),
        }
    }

    pub(super) fn write(&self, id: &Id, variant: u64, value: Vec<u8>, vary: Option<Vec<u8>>) {
        if let Some(vary) = vary {
            self.values.insert((id.hash, VARY), vary);
        }
        self.values.insert((id.hash, Some(variant)), value);
        self.held().remove(&id.hash);
    }

    pub(super) fn lease(&self, id: &Id, holder: u64, now_ms: u64, life_ms: u64) -> Lease {
        let mut leases = self.held();
        match leases.get(&id.hash).filter(|held| held.until_ms > now_ms) {
            Some(held) if held.holder == 0 => return Lease::Alone,
            Some(held) if held.holder != holder => return Lease::Other,
            _ => {}
        }
        if leases.len() >= MAX_LEASES {
            leases.retain(|_, held| held.until_ms > now_ms);
            if leases.len() >= MAX_LEASES {
                return Lease::Alone;
            }
        }
        let until_ms = now_ms.saturating_add(life_ms);
        leases.insert(id.hash, Held { holder, until_ms });
        Lease::Granted
    }

    pub(super) fn release(&self, id: &Id, holder: u64, now_ms: u64, alone_ms: u64) {
        let mut leases = self.held();
        if leases.get(&id.hash).is_none_or(|held| held.holder != holder) {
            return;
        }
        if alone_ms == 0 {
            leases.remove(&id.hash);
        } else {
            let until_ms = now_ms.saturating_add(alone_ms);
            leases.insert(id.hash, Held { holder: 0, until_ms });
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Held>> {
        lock(&self.leases)
    }
}
