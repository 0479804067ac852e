use super::*;
use crate::store::ledger::KEY_COST;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Insert { key: u64, len: usize, live_ms: u64 },
    Use { key: u64 },
    Remove { key: u64 },
    Flush,
    Maintain,
    Wait { ms: u64 },
    Resize { entries: u32, kib: u64, policy: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..400_u64, 0..3000_usize, 1000..100_000_u64)
            .prop_map(|(key, len, live_ms)| Op::Insert { key, len, live_ms }),
        1 => (0..400_u64, 3000..60_000_usize).prop_map(|(key, len)| Op::Insert { key, len, live_ms: 1 << 30 }),
        8 => (0..400_u64).prop_map(|key| Op::Use { key }),
        1 => (0..400_u64).prop_map(|key| Op::Remove { key }),
        1 => Just(Op::Flush),
        1 => Just(Op::Maintain),
        2 => (0..5000_u64).prop_map(|ms| Op::Wait { ms }),
        1 => (1..300_u32, 300..1000_u64, 0..5_usize)
            .prop_map(|(entries, kib, policy)| Op::Resize { entries, kib, policy }),
    ]
}

const POLICIES: [Eviction; 5] = [
    Eviction::S3Fifo,
    Eviction::Sieve,
    Eviction::Lru,
    Eviction::Lfu,
    Eviction::Fifo,
];

/// Every byte of shared data, with what the host's map needs for each key, the key's own bytes included.
fn memory(map: &MemoryMap) -> u64 {
    let keys = map.keys();
    let values = map.bytes() - keys.iter().map(Vec::len).sum::<usize>();
    values as u64 + keys.len() as u64 * (KEY_COST - 4)
}

fn run(workers: usize, ops: &[(usize, Op)]) {
    let map = seeded();
    let mut limit = limits(100, 600 << 10);
    let mut stores: Vec<_> = (0..workers).map(|_| Store::new(limit, Eviction::default())).collect();
    let invalidation_log = InvalidationLog::default();
    let mut now = START;
    let mut latest = std::collections::HashMap::new();
    for (worker, op) in ops {
        let store = &mut stores[worker % workers];
        now += 5;
        match op {
            Op::Insert { key: n, len, live_ms } => {
                let key = key(*n);
                let entry = Entry {
                    usable_until_ms: now + live_ms,
                    fetch_ms: 0,
                    ..entry(&key, value(*n, *len))
                };
                latest.remove(n);
                if store.insert(&map, entry, |_| 0, now).is_ok() {
                    latest.insert(*n, *len);
                    let total = ledger(&map).total;
                    assert!(total.fits(&limit), "{total:?} {limit:?}");
                    assert!(memory(&map) <= limit.bytes + (4 << 10), "{} {limit:?}", memory(&map));
                }
            }
            Op::Use { key: n } => {
                if let Some(found) = store.lookup(&map, &key(*n), |_| 0, now) {
                    assert_eq!(Some(found.value()), latest.get(n).map(|len| value(*n, *len)).as_deref());
                    store.touch(found.id, now);
                }
            }
            Op::Remove { key: n } => {
                store.remove(&map, &key(*n));
                assert!(!has(store, &map, *n, now));
            }
            Op::Flush => store.flush(&map, 16),
            Op::Maintain => drop(store.maintain(&map, &invalidation_log, 64, now)),
            Op::Wait { ms } => now += ms,
            Op::Resize { entries, kib, policy } => {
                limit = limits(*entries, kib << 10);
                for store in &mut stores {
                    store.configure(limit, POLICIES[*policy]);
                }
                while stores[0].maintain(&map, &invalidation_log, 32, now) {}
                assert!(ledger(&map).total.fits(&limit));
            }
        }
        assert_covered(&map);
    }
    for store in &mut stores {
        store.flush(&map, 0);
    }
    sweep_all(&mut stores[0], &map, now);
    assert_eq!(ledger(&map).total, truth(&map));
    assert_eq!(orphans(&map), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_with_one_worker(ops in prop::collection::vec((0..1_usize, op()), 1..300)) {
        run(1, &ops);
    }

    #[test]
    fn limits_hold_with_two_workers(ops in prop::collection::vec((0..2_usize, op()), 1..300)) {
        run(2, &ops);
    }

    #[test]
    fn limits_hold_with_eight_workers(ops in prop::collection::vec((0..8_usize, op()), 1..300)) {
        run(8, &ops);
    }
}

#[test]
fn growing_keeps_every_entry_and_shrinking_takes_bounded_steps() {
    let map = seeded();
    let invalidation_log = InvalidationLog::default();
    let mut store = Store::new(limits(5000, 64 << 20), Eviction::default());
    for n in 0..5000 {
        put(&mut store, &map, n, START).unwrap();
    }
    assert_eq!(store.usage(&map, START).entries, 5000);
    store.configure(limits(1_000_000, 1 << 30), Eviction::default());
    assert!((0..5000).all(|n| has(&mut store, &map, n, START)));
    store.configure(limits(100, 64 << 20), Eviction::default());
    let mut calls = 0;
    loop {
        let (reads, writes) = (map.reads(), map.writes());
        let more = store.maintain(&map, &invalidation_log, 16, START);
        assert!(
            map.reads() - reads < 1000 && map.writes() - writes < 400,
            "{} {}",
            map.reads() - reads,
            map.writes() - writes
        );
        calls += 1;
        if !more {
            break;
        }
    }
    assert!(calls > 10, "{calls}");
    assert_eq!(store.usage(&map, START).entries, 100);
    assert_eq!(orphans(&map), 0);
}

#[test]
fn one_page_cannot_take_everything() {
    let map = seeded();
    let mut store = Store::new(limits(2000, 64 << 20), Eviction::default());
    let crowd = (0..200_000_u64).filter(|n| super::super::codec::page_of(super::super::codec::key_hash(&key(*n))) == 7);
    for n in crowd {
        put(&mut store, &map, n, START).unwrap();
    }
    assert!(truth(&map).entries <= 20);
    assert_eq!(ledger(&map).total, truth(&map));
}

#[test]
fn the_keys_of_shared_data_are_bounded() {
    let map = seeded();
    let mut store = Store::new(limits(3000, 64 << 20), Eviction::default());
    for n in 0..60_000 {
        put(&mut store, &map, n, START + n).unwrap();
    }
    let slots = map.keys().len() as u64 - u64::from(PAGES + PAGE_VERSIONS);
    assert!(slots < 3 * 3000, "{slots}");
    let usage = store.usage(&map, START);
    assert_eq!(usage.entries, 3000);
    assert!(memory(&map) <= usage.bytes + (4 << 10), "{} {usage:?}", memory(&map));
}
