//! Two workers on one directory page, its slots and the ledger, in every order of their calls, with one that may die between any two.
//!
//! Of two that use one slot at the same time, both may lose what they have stored: the record is there and the slot is empty, which is a
//! miss until the next one stores it. What is found is always the right one.

use super::super::codec::{key_hash, page_of};
use super::*;
use crate::shared_map::explore::{Data, Stepped, Work, WorkerState, explore_seeing};
use crate::shared_map::keys;
use std::collections::HashSet;

const ROOMY: (u32, u64) = (100, 64 << 20);
/// One entry fits: whoever comes evicts who was there.
const TIGHT: (u32, u64) = (1, 64 << 20);
/// More than any of these needs in any order with few retries.
const CALLS: usize = 40;
/// A worker tells another by it that it has ended: no call of the store's.
const FLAG: &[u8] = b"flag";

/// Numbers whose keys have the same page; the page.
fn neighbours() -> ([u64; 3], u16) {
    let page = |n: u64| page_of(key_hash(&key(n)));
    let home = page(0);
    let mut found = (0..).filter(|n| page(*n) == home);
    (std::array::from_fn(|_| found.next().unwrap()), home)
}

fn store((entries, bytes): (u32, u64)) -> Store {
    Store::new(limits(entries, bytes), Eviction::S3Fifo)
}

/// Length of the version of a response.
fn sized(n: u64, version: u64) -> Vec<u8> {
    value(n, 100 + usize::try_from(version).unwrap())
}

fn insert(limit: (u32, u64), n: u64, version: u64) -> impl Fn(&Stepped<'_>) -> String {
    move |map| {
        let mut store = store(limit);
        let stored = store.insert(map, entry(&key(n), sized(n, version)), |_| 0, START + 16);
        let _ = map.set(FLAG, b"1", None);
        if stored.is_ok() { "stored" } else { "failed" }.to_owned()
    }
}

/// The version of what is found.
fn version(store: &mut Store, map: &impl SharedMap, n: u64) -> Option<u64> {
    let found = store.lookup(map, &key(n), |_| 0, START + 32)?;
    let length = found.value().len();
    assert_eq!(found.value(), value(n, length), "torn, or another's");
    store.touch(found.id, START + 32);
    store.keep(&found);
    Some(length as u64 - 100)
}

fn use_and_flush(n: u64) -> impl Fn(&Stepped<'_>) -> String {
    move |map| {
        let mut store = store(ROOMY);
        let found = version(&mut store, map, n);
        store.flush(map, 1);
        format!("{found:?}")
    }
}

fn discard(id: EntryId) -> impl Fn(&Stepped<'_>) -> String {
    move |map| store(ROOMY).discard(map, id).to_string()
}

/// A step of the sweep over one page.
fn sweep(map: &Stepped<'_>) -> String {
    store(ROOMY).maintain(map, &InvalidationLog::default(), 1, START + 48);
    String::new()
}

/// What is in the page, and in all others of a map where only this one has entries.
fn real(map: &impl SharedMap, page: u16) -> Counts {
    let others = Counts {
        keys: u64::from(PAGES) - 1,
        ..Counts::default()
    };
    let (bytes, _) = map.get(&keys::page(page)).unwrap();
    others.plus(Page::decode(&bytes).unwrap().counts())
}

/// At no time the ledger shows less than there is; in the end, after a sweep, exactly what there is, and nothing is left lying. What
/// `check` wants of an end holds too.
fn every_order(
    map: &MemoryMap,
    work: &[Work<'_>],
    deaths: usize,
    calls: usize,
    check: impl Fn(&Data, &[WorkerState]),
) -> usize {
    let (_, page) = neighbours();
    let mut swept = HashSet::new();
    let covered = |data: &Data| {
        let (shown, real) = (ledger(data).total, real(data, page));
        let enough = shown.entries >= real.entries && shown.bytes >= real.bytes && shown.keys >= real.keys;
        assert!(enough, "{shown:?} {real:?}");
    };
    explore_seeing(map, work, deaths, calls, covered, |data, workers| {
        check(data, workers);
        let slots = (0..4).map(|slot| data.get(&keys::slot(page, slot)).map(|(bytes, _)| bytes));
        let bytes = |key: &[u8]| data.get(key).map(|(bytes, _)| bytes);
        let held = (bytes(keys::LEDGER), bytes(&keys::page(page)), slots.collect::<Vec<_>>());
        if swept.insert(held) {
            let data = data.clone();
            store(ROOMY).sweep_all(&data, &InvalidationLog::default(), START + 64);
            store(ROOMY).sweep_all(&data, &InvalidationLog::default(), START + 64);
            assert_eq!(ledger(&data).total, truth(&data), "{workers:?}");
            assert_eq!(orphans(&data), 0, "{workers:?}");
        }
    })
}

/// Whoever stores it next has it stored.
fn heals(data: &Data, n: u64) {
    let data = data.clone();
    put(&mut store(ROOMY), &data, n, START + 64).unwrap();
    assert_eq!(version(&mut store(ROOMY), &data, n), Some(0));
}

fn none_dead(workers: &[WorkerState]) -> bool {
    !workers.contains(&WorkerState::Dead)
}

#[test]
fn two_that_store_beside_each_other() {
    let ([one, two, _], _) = neighbours();
    let (first, second) = (insert(ROOMY, one, 1), insert(ROOMY, two, 2));
    let states = every_order(&seeded(), &[&first, &second], 1, CALLS, |data, workers| {
        for ((n, stored), workers) in [(one, 1), (two, 2)].into_iter().zip(workers) {
            let told = workers.result() == Some("stored");
            assert!(workers.result() != Some("failed"), "room for both");
            assert!(!told || version(&mut store(ROOMY), data, n) == Some(stored));
        }
    });
    assert!(states > 200, "{states}");
}

#[test]
fn two_that_store_the_same() {
    let ([one, two, _], _) = neighbours();
    let map = seeded();
    put(&mut store(ROOMY), &map, two, START).unwrap();
    let (first, second) = (insert(ROOMY, one, 1), insert(ROOMY, one, 2));
    every_order(&map, &[&first, &second], 1, CALLS, |data, workers| {
        let found = version(&mut store(ROOMY), data, one);
        assert!(matches!(found, None | Some(1 | 2)), "{found:?} {workers:?}");
        let both = workers.iter().all(|one| one.result() == Some("stored"));
        assert!(!both || found.is_some(), "one was not held up: {workers:?}");
        assert_eq!(version(&mut store(ROOMY), data, two), Some(0), "a neighbour");
        heals(data, one);
    });
}

#[test]
fn whoever_replaces_is_seen_by_whoever_knows_the_page() {
    let ([one, ..], _) = neighbours();
    let map = seeded();
    put(&mut store(ROOMY), &map, one, START).unwrap();
    let replace = insert(ROOMY, one, 1);
    let look = |map: &Stepped<'_>| {
        let mut store = store(ROOMY);
        store.allow_copies(1 << 20);
        let found = (0..2).map(|_| version(&mut store, map, one)).last();
        let replaced = map.get(FLAG).is_some();
        let then = version(&mut store, map, one);
        assert!(!replaced || then == Some(1), "{then:?} after {found:?}");
        String::new()
    };
    let states = every_order(&map, &[&replace, &look], 1, CALLS, |_, _| ());
    assert!(states > 200, "{states}");
}

#[test]
fn one_that_evicts_while_another_uses_what_goes() {
    let ([one, two, _], _) = neighbours();
    let map = seeded();
    put(&mut store(TIGHT), &map, one, START).unwrap();
    let (evict, hit) = (insert(TIGHT, two, 1), use_and_flush(one));
    every_order(&map, &[&evict, &hit], 1, CALLS, |data, workers| {
        let found = version(&mut store(TIGHT), data, two);
        assert!(!none_dead(workers) || found == Some(1), "{workers:?}");
        assert!(ledger(data).total.fits(&limits(TIGHT.0, TIGHT.1)));
    });
}

#[test]
fn two_that_evict_keep_the_limit() {
    let ([one, two, three], page) = neighbours();
    let map = seeded();
    put(&mut store(TIGHT), &map, one, START).unwrap();
    let (first, second) = (insert(TIGHT, two, 1), insert(TIGHT, three, 2));
    let states = every_order(&map, &[&first, &second], 0, 16, |data, _| {
        assert!(real(data, page).entries <= 1);
    });
    assert!(states > 1_000, "{states}");
}

#[test]
fn one_that_discards_while_another_replaces() {
    let ([one, ..], _) = neighbours();
    let map = seeded();
    let id = put(&mut store(ROOMY), &map, one, START).unwrap().id;
    let (gone, again) = (discard(id), insert(ROOMY, one, 1));
    every_order(&map, &[&gone, &again], 1, CALLS, |data, workers| {
        let found = version(&mut store(ROOMY), data, one);
        let discarded = workers[0].result().is_some();
        assert!(!discarded || found != Some(0), "what was discarded: {workers:?}");
        assert!(matches!(found, None | Some(0 | 1)), "{found:?} {workers:?}");
        heals(data, one);
    });
}

#[test]
fn one_that_sweeps_while_another_stores_or_discards() {
    let ([one, two, _], page) = neighbours();
    let map = seeded();
    let id = put(&mut store(ROOMY), &map, one, START).unwrap().id;
    // Up to the page.
    store(ROOMY).maintain(&map, &InvalidationLog::default(), usize::from(page), START);
    assert_eq!(ledger(&map).cursor, page);
    let (gone, more) = (discard(id), insert(ROOMY, two, 1));
    for (other, lasts) in [(&more as Work<'_>, true), (&gone as Work<'_>, false)] {
        every_order(&map, &[&sweep, other], 1, CALLS, |data, workers| {
            let kept = version(&mut store(ROOMY), data, one).is_some();
            assert!(kept || !lasts, "{workers:?}");
        });
    }
}
