//! Tests of the whole store.

mod behaviour;
mod damage;
mod every_order;
mod eviction;
mod interleaved;
mod limits;
mod purge;

use super::codec::{PAGE_VERSIONS, PAGES};
use super::ledger::{Counts, Ledger};
use super::page::Page;
use super::*;
use crate::Millis;
use crate::shared_map::{MemoryMap, SharedMap, keys};

/// A moment in 2027.
const START: Millis = 1_800_000_000_000;
const FOREVER: Millis = START + 1_000_000_000;

fn limits(entries: u32, bytes: u64) -> Limits {
    Limits {
        entries,
        bytes,
        object_bytes: 1 << 20,
    }
}

fn seeded() -> MemoryMap {
    let map = MemoryMap::default();
    Store::seed(&map);
    InvalidationLog::seed(&map);
    map
}

fn key(n: u64) -> Vec<u8> {
    format!("GET https://example.com/item/{n}").into_bytes()
}

/// A value that tells its key, so that a wrong one is recognised.
fn value(n: u64, len: usize) -> Vec<u8> {
    let mut value = key(n);
    value.push(b'\n');
    value.resize(value.len().max(len), (n % 251) as u8);
    value
}

fn entry<'a>(key: &'a [u8], value: Vec<u8>) -> Entry<'a> {
    Entry {
        key,
        vary: &[],
        usable_until_ms: FOREVER,
        fetch_ms: 0,
        purge_generation: PurgeGeneration::default(),
        value,
    }
}

fn put(store: &mut Store, map: &impl SharedMap, n: u64, now: Millis) -> Result<Inserted, StoreError> {
    store.insert(map, entry(&key(n), value(n, 100)), |_| 0, now)
}

fn has(store: &mut Store, map: &impl SharedMap, n: u64, now: Millis) -> bool {
    store
        .lookup(map, &key(n), |_| 0, now)
        .is_some_and(|found| found.value().starts_with(&key(n)))
}

fn use_it(store: &mut Store, map: &impl SharedMap, n: u64, now: Millis) -> bool {
    let Some(found) = store.lookup(map, &key(n), |_| 0, now) else {
        return false;
    };
    store.touch(found.id, now);
    true
}

/// What the pages really hold.
fn truth(map: &impl SharedMap) -> Counts {
    let pages = (0..PAGES).filter_map(|number| map.get(&keys::page(number)));
    pages
        .filter_map(|(bytes, _)| Page::decode(&bytes))
        .fold(Counts::default(), |sum, page| sum.plus(page.counts()))
}

fn ledger(map: &impl SharedMap) -> Ledger {
    Ledger::decode(&map.get(keys::LEDGER).unwrap().0).unwrap()
}

/// Responses in slots that no record uses.
fn orphans(map: &impl SharedMap) -> usize {
    let mut orphans = 0;
    for number in 0..PAGES {
        let Some(page) = map.get(&keys::page(number)).and_then(|(bytes, _)| Page::decode(&bytes)) else {
            continue;
        };
        let used = |slot| page.records.iter().any(|record| record.slot == slot);
        orphans += (0..page.high + 2)
            .filter(|slot| !used(*slot) && map.get(&keys::slot(number, *slot)).is_some())
            .count();
    }
    orphans
}

/// Nowhere does the ledger show less than there is.
fn assert_covered(map: &MemoryMap) {
    let (shown, real) = (ledger(map).total, truth(map));
    assert!(shown.entries >= real.entries, "{shown:?} {real:?}");
    assert!(shown.bytes >= real.bytes, "{shown:?} {real:?}");
    assert!(shown.keys >= real.keys, "{shown:?} {real:?}");
}

/// Two rounds of the sweep: the first may have begun with pages counted before a fault.
fn sweep_all(store: &mut Store, map: &impl SharedMap, now: Millis) {
    let invalidation_log = InvalidationLog::default();
    for _ in 0..2 * (u32::from(PAGES) / 64) + 2 {
        store.maintain(map, &invalidation_log, 64, now);
    }
}
