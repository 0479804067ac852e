use super::*;

/// Stores 1, 2, 3 in a store for three, uses some, stores 4, and tells who is left of the first three.
fn left_after(policy: Eviction, used: &[u64]) -> Vec<u64> {
    let map = seeded();
    let mut store = Store::new(limits(3, 8 << 20), policy);
    let mut now = START;
    for n in 1..=3 {
        put(&mut store, &map, n, now).unwrap();
        now += 100;
    }
    for n in used {
        assert!(use_it(&mut store, &map, *n, now));
        now += 100;
    }
    assert_eq!(put(&mut store, &map, 4, now).unwrap().evicted, 1);
    assert!(has(&mut store, &map, 4, now));
    assert_eq!(store.take_events().evictions, 1);
    (1..=3).filter(|n| has(&mut store, &map, *n, now)).collect()
}

#[test]
fn policies_name_their_victims() {
    assert_eq!(left_after(Eviction::Fifo, &[1, 1]), [2, 3]);
    assert_eq!(left_after(Eviction::Lru, &[1]), [1, 3]);
    assert_eq!(left_after(Eviction::Lru, &[2, 1]), [1, 2]);
    assert_eq!(left_after(Eviction::Lfu, &[1, 1, 2, 3, 3]), [1, 3]);
    assert_eq!(left_after(Eviction::Sieve, &[1, 3]), [1, 3]);
    assert_eq!(left_after(Eviction::S3Fifo, &[1, 1, 2, 2]), [1, 2]);
}

#[test]
fn what_saves_the_origin_least_for_its_memory_goes_first() {
    let left = |fetches: [(u64, usize); 3], used: &[u64]| {
        let map = seeded();
        let mut store = Store::new(limits(3, 8 << 20), Eviction::Gdsf);
        for (n, (fetch_ms, size)) in (1..).zip(fetches) {
            let (key, value) = (key(n), value(n, size));
            let of = Entry {
                fetch_ms,
                ..entry(&key, value)
            };
            store.insert(&map, of, |_| 0, START).unwrap();
        }
        for n in used {
            assert!(use_it(&mut store, &map, *n, START + 100));
        }
        put(&mut store, &map, 4, START + 200).unwrap();
        (1..=3)
            .filter(|n| has(&mut store, &map, *n, START + 200))
            .collect::<Vec<u64>>()
    };
    assert_eq!(left([(500, 100), (20, 100), (400, 100)], &[]), [1, 3], "the quickest");
    assert_eq!(left([(100, 100), (100, 9_000), (100, 100)], &[]), [1, 3], "the largest");
    assert_eq!(
        left([(100, 100), (100, 100), (100, 100)], &[1, 1, 2]),
        [1, 2],
        "the least used"
    );
    assert_eq!(
        left([(16, 100), (100, 100), (100, 100)], &[1, 1, 1, 1, 1]),
        [1, 3],
        "used often, if quick; else the older"
    );
}

#[test]
fn hits_count_in_other_workers_after_a_flush() {
    let map = seeded();
    let (mut one, mut two) = (
        Store::new(limits(3, 8 << 20), Eviction::Lru),
        Store::new(limits(3, 8 << 20), Eviction::Lru),
    );
    for n in 1..=3 {
        put(&mut one, &map, n, START + n * 100).unwrap();
    }
    use_it(&mut one, &map, 1, START + 400);
    one.flush(&map, 10);
    put(&mut two, &map, 4, START + 500).unwrap();
    assert!(has(&mut two, &map, 1, START + 500));
    assert!(!has(&mut two, &map, 2, START + 500));
}

#[test]
fn the_policy_can_be_switched_under_load() {
    let map = seeded();
    let mut store = Store::new(limits(500, 8 << 20), Eviction::default());
    let policies = [
        Eviction::S3Fifo,
        Eviction::Sieve,
        Eviction::Lru,
        Eviction::Lfu,
        Eviction::Fifo,
        Eviction::Gdsf,
    ];
    for round in 0..25_u64 {
        store.configure(limits(500, 8 << 20), policies[round as usize % 6]);
        let before = store.usage(&map, START).entries;
        assert!(round == 0 || before == 500, "{before}");
        for n in 0..600 {
            let now = START + round * 10_000 + n;
            put(&mut store, &map, round * 100 + n, now).unwrap();
            use_it(&mut store, &map, round * 100 + n / 2, now);
        }
        store.flush(&map, 1024);
        assert_eq!(ledger(&map).total, truth(&map));
    }
}

#[test]
fn a_scan_does_not_flush_what_is_used() {
    for policy in [Eviction::S3Fifo] {
        let map = seeded();
        let mut store = Store::new(limits(1000, 64 << 20), policy);
        let mut now = START;
        for round in 0..5 {
            for n in 0..400 {
                if !use_it(&mut store, &map, n, now) {
                    put(&mut store, &map, n, now).unwrap();
                }
                now += 16;
            }
            assert!(round < 2 || (0..400).filter(|n| has(&mut store, &map, *n, now)).count() > 390);
        }
        for n in 10_000..13_000 {
            put(&mut store, &map, n, now).unwrap();
            now += 16;
            if n % 2 == 0 {
                use_it(&mut store, &map, n / 2 % 400, now);
            }
        }
        let left = (0..400).filter(|n| has(&mut store, &map, *n, now)).count();
        assert!(left > 320, "{policy:?}: {left}");
    }
}

#[test]
fn flushing_is_bounded_and_the_log_too() {
    let map = seeded();
    let mut store = Store::new(limits(10_000, 64 << 20), Eviction::Lru);
    for n in 0..4000 {
        put(&mut store, &map, n, START).unwrap();
    }
    for n in 0..4000 {
        use_it(&mut store, &map, n, START + 1000);
    }
    assert!(store.take_events().touches_lost > 0);
    let (reads, writes) = (map.reads(), map.writes());
    store.flush(&map, 10);
    assert!(map.reads() - reads <= 12 && map.writes() - writes <= 12);
    store.flush(&map, usize::from(PAGES));
    let (reads, writes) = (map.reads(), map.writes());
    store.flush(&map, 10);
    assert_eq!((map.reads(), map.writes()), (reads, writes), "nothing left to flush");
}
