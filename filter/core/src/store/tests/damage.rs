use super::*;
use crate::shared_map::{Cas, SetError};
use optimizer_proto::purge::PurgeTarget;

#[test]
fn a_host_that_fails_every_call_costs_only_misses() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    let mut invalidation_log = InvalidationLog::default();
    let id = put(&mut store, &map, 1, START).unwrap().id;
    map.fail_all(true);
    exercise(&mut store, &mut invalidation_log, &map, id);
    assert!(put(&mut store, &map, 2, START).is_err());
    map.fail_all(false);
    assert!(has(&mut store, &map, 1, START), "nothing was lost");
    put(&mut store, &map, 2, START).unwrap();
    assert_covered(&map);
}

fn exercise(store: &mut Store, invalidation_log: &mut InvalidationLog, map: &impl SharedMap, id: EntryId) {
    Store::seed(map);
    InvalidationLog::seed(map);
    store.touch(id, START);
    for n in 0..4 {
        let _ = store.lookup(map, &key(n), |_| 0, START);
        let _ = put(store, map, n, START);
        let _ = store.insert(
            map,
            Entry {
                vary: &[b"x"],
                ..entry(b"v", vec![1])
            },
            |_| 0,
            START,
        );
    }
    store.flush(map, 100);
    let _ = store.remove(map, &key(1));
    let _ = store.discard(map, id);
    let _ = store.discard_corrupt(map, id);
    let _ = store.maintain(map, invalidation_log, 2000, START);
    let _ = store.usage(map, START);
    let _ = store.iterate(map, Cursor::default(), 10, &(0..=u16::MAX), START);
    let _ = invalidation_log.purge(map, &PurgeTarget::All, false, START);
    let _ = invalidation_log.refresh(map, START);
}

/// Fails a share of the calls, by a seeded sequence.
struct Flaky<'a> {
    map: &'a MemoryMap,
    state: std::cell::Cell<u64>,
}

impl Flaky<'_> {
    fn fails(&self) -> bool {
        let state = self.state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.state.set(state);
        (state >> 60) == 0
    }
}

impl SharedMap for Flaky<'_> {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        if self.fails() { None } else { self.map.get(key) }
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        if self.fails() { None } else { self.map.version(key) }
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        if self.fails() {
            Err(SetError::Host)
        } else {
            self.map.set(key, value, cas)
        }
    }
}

#[test]
fn a_host_that_fails_now_and_then_gives_no_wrong_answer() {
    for seed in 0..20 {
        let map = seeded();
        let flaky = Flaky {
            map: &map,
            state: std::cell::Cell::new(seed),
        };
        let mut store = Store::new(limits(50, 8 << 20), Eviction::default());
        for n in 0..2000_u64 {
            let n = n * 7 % 130;
            let _ = put(&mut store, &flaky, n, START);
            if let Some(found) = store.lookup(&flaky, &key(n), |_| 0, START) {
                assert_eq!(found.value(), value(n, 100));
            }
        }
        sweep_all(&mut store, &map, START);
        sweep_all(&mut store, &map, START);
        assert_eq!(ledger(&map).total, truth(&map), "seed {seed}");
        assert_eq!(orphans(&map), 0);
    }
}

fn slot_of(map: &MemoryMap, n: u64) -> Vec<u8> {
    let slots = map.keys().into_iter().filter(|name| name.starts_with(b"ao/s"));
    slots
        .into_iter()
        .find(|name| map.get(name).is_some_and(|(value, _)| value.starts_with(&key(n))))
        .unwrap()
}

#[test]
fn a_damaged_slot_is_a_miss_and_counted_and_removed() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    for (round, spoil) in [
        |bytes: &mut Vec<u8>| bytes.truncate(10),
        |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1,
        |bytes: &mut Vec<u8>| bytes.insert(0, 0),
    ]
    .into_iter()
    .enumerate()
    {
        put(&mut store, &map, 1, START).unwrap();
        let name = slot_of(&map, 1);
        let (mut bytes, _) = map.get(&name).unwrap();
        spoil(&mut bytes);
        map.set(&name, &bytes, None).unwrap();
        assert!(store.lookup(&map, &key(1), |_| 0, START).is_none());
        assert_eq!(store.take_events().corrupt, 1, "round {round}");
        assert_eq!(truth(&map).entries, 0);
        assert_eq!(ledger(&map).total, truth(&map));
    }
}

#[test]
fn an_emptied_slot_is_a_miss() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    put(&mut store, &map, 1, START).unwrap();
    map.set(&slot_of(&map, 1), b"", None).unwrap();
    assert!(!has(&mut store, &map, 1, START));
    put(&mut store, &map, 1, START).unwrap();
    assert!(has(&mut store, &map, 1, START));
}

#[test]
fn damaged_pages_are_given_up_and_the_totals_heal() {
    let map = seeded();
    let mut store = Store::new(limits(2000, 8 << 20), Eviction::default());
    for n in 0..1000 {
        put(&mut store, &map, n, START).unwrap();
    }
    for number in 0..PAGES / 2 {
        let (mut bytes, _) = map.get(&crate::shared_map::keys::page(number)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        map.set(&crate::shared_map::keys::page(number), &bytes, None).unwrap();
    }
    for n in 0..1000 {
        // A flipped bit may leave a record intact or lead astray; never to another's response.
        if let Some(found) = store.lookup(&map, &key(n), |_| 0, START) {
            assert_eq!(found.value(), value(n, 100));
        }
    }
    assert_covered(&map);
    sweep_all(&mut store, &map, START);
    sweep_all(&mut store, &map, START);
    assert!(store.take_events().corrupt >= u64::from(PAGES / 2));
    assert_eq!(ledger(&map).total, truth(&map));
    assert_eq!(orphans(&map), 0);
    assert!(truth(&map).entries > 300);
    for n in 0..1000 {
        put(&mut store, &map, n, START).unwrap();
    }
    assert_eq!(ledger(&map).total, truth(&map));
}

#[test]
fn a_lost_or_damaged_ledger_is_counted_anew() {
    let map = seeded();
    let mut store = Store::new(limits(100, 8 << 20), Eviction::default());
    for n in 0..100 {
        put(&mut store, &map, n, START).unwrap();
    }
    for damage in [&b""[..], b"garbage"] {
        map.set(crate::shared_map::keys::LEDGER, damage, None).unwrap();
        assert!(damage.is_empty() != put(&mut store, &map, 501, START).is_ok());
        Store::seed(&map);
        put(&mut store, &map, 500, START).unwrap();
        assert_eq!(ledger(&map).total, truth(&map));
        assert_eq!(ledger(&map).total.entries, 100);
        sweep_all(&mut store, &map, START);
        assert_eq!(ledger(&map).total, truth(&map));
    }
}

#[test]
fn keys_of_another_format_are_misses() {
    let map = MemoryMap::default();
    for number in 0..PAGES {
        map.set(
            &crate::shared_map::keys::page(number),
            b"p9 something else entirely, of the next version",
            None,
        )
        .unwrap();
    }
    map.set(crate::shared_map::keys::LEDGER, b"aog9", None).unwrap();
    Store::seed(&map);
    let mut store = Store::new(Limits::default(), Eviction::default());
    assert!(!has(&mut store, &map, 1, START));
    put(&mut store, &map, 1, START).unwrap();
    assert!(has(&mut store, &map, 1, START));
    sweep_all(&mut store, &map, START);
    assert_covered(&map);
}

#[test]
fn an_unseeded_map_stores_nothing() {
    let map = MemoryMap::default();
    let mut store = Store::new(limits(10, 8 << 20), Eviction::default());
    assert!(!has(&mut store, &map, 1, START));
    assert_eq!(store.usage(&map, START), Usage::default());
    assert_eq!(put(&mut store, &map, 1, START), Err(StoreError::Host));
    assert!(!store.maintain(&map, &InvalidationLog::default(), 100, START));
    assert!(map.keys().is_empty());
    Store::seed(&map);
    put(&mut store, &map, 1, START).unwrap();
    assert!(has(&mut store, &map, 1, START));
}
