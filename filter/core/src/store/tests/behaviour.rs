use super::*;

#[test]
fn what_is_stored_is_found_in_two_reads() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    let inserted = put(&mut store, &map, 1, START).unwrap();
    assert!(!inserted.replaced);
    let (reads, writes) = (map.reads(), map.writes());
    let found = store.lookup(&map, &key(1), |_| panic!("no Vary"), START + 5).unwrap();
    assert_eq!((map.reads() - reads, map.writes() - writes), (2, 0));
    assert_eq!(found.value(), value(1, 100));
    assert_eq!(found.id, inserted.id);
    assert_eq!(found.stored_ms, START);
    store.touch(found.id, START + 5);
    assert_eq!(
        (map.reads() - reads, map.writes() - writes),
        (2, 0),
        "a hit writes nothing"
    );
    assert_eq!(found.into_value(), value(1, 100));
    let reads = map.reads();
    assert!(!has(&mut store, &map, 2, START));
    assert_eq!(map.reads() - reads, 1, "a miss is one read");
}

#[test]
fn an_insertion_has_a_fixed_price() {
    let map = seeded();
    let mut store = Store::new(limits(1000, 64 << 20), Eviction::default());
    let price = |store: &mut Store, n| {
        let (reads, writes) = (map.reads(), map.writes());
        put(store, &map, n, START).unwrap();
        (map.reads() - reads, map.writes() - writes)
    };
    assert_eq!(price(&mut store, 0), (3, 4));
    for n in 1..20_000 {
        let (reads, writes) = price(&mut store, n);
        assert!(reads <= 60 && writes <= 20, "{reads} {writes}");
    }
}

#[test]
fn values_are_not_copied_when_there_is_spare_capacity() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    let mut big = Vec::with_capacity(1000 + TRAILER_LEN);
    big.resize(1000, 7);
    store.insert(&map, entry(b"k", big), |_| 0, START).unwrap();
    assert_eq!(store.lookup(&map, b"k", |_| 0, START).unwrap().value(), [7; 1000]);
}

#[test]
fn all_workers_share_one_store() {
    let map = seeded();
    let mut stores: Vec<_> = (0..4)
        .map(|_| Store::new(Limits::default(), Eviction::default()))
        .collect();
    for n in 0..40 {
        put(&mut stores[n as usize % 4], &map, n, START).unwrap();
    }
    for store in &mut stores {
        assert!((0..40).all(|n| has(store, &map, n, START)));
        assert_eq!(store.usage(&map, START).entries, 40);
    }
}

#[test]
fn entries_survive_new_handles_seeding_and_changed_settings() {
    let map = seeded();
    let mut store = Store::new(limits(100, 8 << 20), Eviction::Lru);
    for n in 0..50 {
        put(&mut store, &map, n, START).unwrap();
    }
    drop(store);
    Store::seed(&map);
    let mut store = Store::new(limits(1_000_000, 1 << 30), Eviction::S3Fifo);
    assert!((0..50).all(|n| has(&mut store, &map, n, START)));
    store.configure(limits(60, 8 << 20), Eviction::Sieve);
    assert!((0..50).all(|n| has(&mut store, &map, n, START)));
}

#[test]
fn a_new_response_replaces_the_old_one() {
    let map = seeded();
    let (mut one, mut two) = (
        Store::new(limits(100, 8 << 20), Eviction::default()),
        Store::new(limits(100, 8 << 20), Eviction::default()),
    );
    let old = put(&mut one, &map, 1, START).unwrap();
    for len in [5000, 60, 900] {
        let new = two
            .insert(&map, entry(&key(1), value(1, len)), |_| 0, START + 1000)
            .unwrap();
        assert!(new.replaced);
        assert_eq!(
            one.lookup(&map, &key(1), |_| 0, START + 1000).unwrap().value(),
            value(1, len)
        );
        assert_eq!(ledger(&map).total, truth(&map));
    }
    assert_eq!(one.usage(&map, START).entries, 1);
    assert!(!one.discard(&map, old.id), "the old one's name means nothing any more");
    assert!(has(&mut one, &map, 1, START));
}

/// Hashes the first byte of the request's value of each named field.
fn select(request: &[(&str, &str)]) -> impl FnMut(VaryNames<'_>) -> u64 {
    let request: Vec<_> = request
        .iter()
        .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
        .collect();
    move |names| {
        let mut hash = 1;
        for name in names.iter() {
            let value = request
                .iter()
                .find(|(n, _)| n == name)
                .map_or(0, |(_, v)| u64::from(v[0]));
            hash = hash * 257 + value;
        }
        hash
    }
}

#[test]
fn variants_are_told_apart_by_the_fields_they_vary_on() {
    let map = seeded();
    let (mut one, mut two) = (
        Store::new(Limits::default(), Eviction::default()),
        Store::new(Limits::default(), Eviction::default()),
    );
    let vary = |names: &'static [&'static [u8]], body: &[u8]| Entry {
        vary: names,
        ..entry(b"k", body.to_vec())
    };
    let lang: &[&[u8]] = &[b"Accept-Language"];
    let both: &[&[u8]] = &[b"Accept-Language", b"Accept"];
    one.insert(&map, vary(lang, b"german"), select(&[("accept-language", "de")]), START)
        .unwrap();
    one.insert(
        &map,
        vary(lang, b"english"),
        select(&[("accept-language", "en")]),
        START + 20,
    )
    .unwrap();
    let get = |store: &mut Store, request: &[(&str, &str)]| {
        store
            .lookup(&map, b"k", select(request), START + 100)
            .map(|found| found.into_value().to_vec())
    };
    assert_eq!(get(&mut two, &[("accept-language", "de")]).unwrap(), b"german");
    assert_eq!(get(&mut two, &[("accept-language", "en")]).unwrap(), b"english");
    assert_eq!(get(&mut two, &[("accept-language", "fr")]), None);
    // A later response varies on more: it wins where it matches.
    two.insert(
        &map,
        vary(both, b"json"),
        select(&[("accept-language", "de"), ("accept", "json")]),
        START + 40,
    )
    .unwrap();
    assert_eq!(
        get(&mut one, &[("accept-language", "de"), ("accept", "json")]).unwrap(),
        b"json"
    );
    assert_eq!(
        get(&mut one, &[("accept-language", "de"), ("accept", "xml")]).unwrap(),
        b"german"
    );
    let reads = map.reads();
    get(&mut one, &[("accept-language", "de"), ("accept", "json")]);
    assert_eq!(
        map.reads() - reads,
        1,
        "variants cost no reads, and of a known page only the version is read"
    );
    assert_eq!(one.remove(&map, b"k"), 3);
    assert_eq!(get(&mut two, &[("accept-language", "en")]), None);
    assert_eq!(ledger(&map).total, truth(&map));
}

#[test]
fn the_variants_of_one_key_are_bounded() {
    let map = seeded();
    let mut store = Store::new(limits(1_000_000, 1 << 30), Eviction::default());
    for n in 0..500 {
        let entry = Entry {
            vary: &[b"cookie"],
            ..entry(b"k", vec![1; 10])
        };
        store.insert(&map, entry, |_| n, START + n * 20).unwrap();
    }
    assert_eq!(store.usage(&map, START).entries, 64);
    assert!(store.lookup(&map, b"k", |_| 499, START + 10_000).is_some());
    assert!(store.lookup(&map, b"k", |_| 10, START + 10_000).is_none());
}

#[test]
fn what_is_past_its_use_is_not_found_and_goes_first() {
    let map = seeded();
    let mut store = Store::new(limits(3, 8 << 20), Eviction::Lru);
    let short = |n: u64| Entry {
        usable_until_ms: START + 1000,
        fetch_ms: 0,
        ..entry(b"", value(n, 10))
    };
    assert_eq!(
        store.insert(&map, short(1), |_| 0, START + 1000).unwrap_err(),
        StoreError::Expired
    );
    let keys = [key(1), key(2), key(3)];
    store
        .insert(
            &map,
            Entry {
                key: &keys[0],
                usable_until_ms: FOREVER,
                fetch_ms: 0,
                ..short(1)
            },
            |_| 0,
            START,
        )
        .unwrap();
    store
        .insert(
            &map,
            Entry {
                key: &keys[1],
                ..short(2)
            },
            |_| 0,
            START + 500,
        )
        .unwrap();
    store
        .insert(
            &map,
            Entry {
                key: &keys[2],
                usable_until_ms: FOREVER,
                fetch_ms: 0,
                ..short(3)
            },
            |_| 0,
            START + 600,
        )
        .unwrap();
    assert!(has(&mut store, &map, 2, START + 999));
    assert!(!has(&mut store, &map, 2, START + 1000));
    let inserted = put(&mut store, &map, 4, START + 2000).unwrap();
    assert_eq!(inserted.evicted, 0, "an expired one is no eviction");
    assert!([1, 3, 4].iter().all(|n| has(&mut store, &map, *n, START + 2000)));
    assert_eq!(
        store.take_events(),
        Events {
            expirations: 1,
            ..Events::default()
        }
    );
    assert_eq!(store.take_events(), Events::default(), "events are told once");
}

#[test]
fn the_sweep_removes_what_expired() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    for n in 0..200 {
        let until = if n % 2 == 0 { START + 1000 } else { FOREVER };
        let key = key(n);
        let entry = Entry {
            usable_until_ms: until,
            fetch_ms: 0,
            ..entry(&key, value(n, 50))
        };
        store.insert(&map, entry, |_| 0, START).unwrap();
    }
    sweep_all(&mut store, &map, START + 2000);
    assert_eq!(store.usage(&map, START).entries, 100);
    assert_eq!(store.take_events().expirations, 100);
    assert_eq!(ledger(&map).total, truth(&map));
    assert_eq!(orphans(&map), 0);
}

#[test]
fn usage_adds_up_ages_and_memory() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    let empty = store.usage(&map, START);
    assert_eq!((empty.entries, empty.age_sum_ms), (0, 0));
    for n in 0..10 {
        put(&mut store, &map, n, START + n * 1600).unwrap();
    }
    let usage = store.usage(&map, START + 16_000);
    assert_eq!(usage.entries, 10);
    assert_eq!(usage.age_sum_ms, 160_000 - 45 * 1600);
    assert!(usage.bytes > empty.bytes + 10 * 100);
}

#[test]
fn too_large_is_refused() {
    let map = seeded();
    let mut store = Store::new(
        Limits {
            entries: 10,
            bytes: 1 << 20,
            object_bytes: 1000,
        },
        Eviction::default(),
    );
    let mut insert = |len| store.insert(&map, entry(b"k", vec![0; len]), |_| 0, START).map(|_| ());
    assert_eq!(insert(1000), Ok(()));
    assert_eq!(insert(1001), Err(StoreError::TooLarge));
    store.configure(
        Limits {
            entries: 10,
            bytes: 1 << 20,
            object_bytes: u32::MAX,
        },
        Eviction::default(),
    );
    let mut insert = |len| store.insert(&map, entry(b"k", vec![0; len]), |_| 0, START).map(|_| ());
    assert_eq!(insert(240_000), Ok(()));
    assert_eq!(insert(270_000), Err(StoreError::TooLarge));
}

#[test]
fn an_iteration_sees_every_entry_once() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    for n in 0..3000 {
        put(&mut store, &map, n, START).unwrap();
    }
    let mut seen = std::collections::HashSet::new();
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let (found, next) = store.iterate(&map, at, 37, &(0..=u16::MAX), START);
        assert!(found.len() <= 37);
        for exported in found {
            assert_eq!(exported.usable_until_ms, FOREVER);
            assert!(seen.insert(exported.value));
        }
        cursor = next;
    }
    assert_eq!(seen.len(), 3000);
}

#[test]
fn an_iteration_by_hits_and_a_survey_see_the_same_entries() {
    let map = seeded();
    let mut store = Store::new(Limits::default(), Eviction::default());
    for n in 0..300 {
        put(&mut store, &map, n, START).unwrap();
    }
    for n in 0..30 {
        (0..4).for_each(|_| assert!(use_it(&mut store, &map, n, START)));
    }
    store.flush(&map, usize::MAX);
    let mut count = |hits: &std::ops::RangeInclusive<u16>| {
        let (mut cursor, mut seen) = (Some(Cursor::default()), 0);
        while let Some(at) = cursor {
            let (found, next) = store.iterate(&map, at, 16, hits, START);
            assert!(found.iter().all(|exported| hits.contains(&exported.hits)));
            seen += found.len();
            cursor = next;
        }
        seen
    };
    assert_eq!((count(&(1..=u16::MAX)), count(&(0..=0))), (30, 270));

    let (mut page, mut entries, mut sampled) = (Some(0), 0, 0);
    while let Some(from) = page {
        page = store.survey(&map, (from, 100), 3, START + 5_000, &mut |surveyed, value| {
            entries += 1;
            sampled += usize::from(value.is_some());
            assert!(surveyed.bytes > 0 && (5_000..5_032).contains(&surveyed.age_ms));
        });
    }
    assert_eq!(entries, 300);
    assert!((50..200).contains(&sampled), "{sampled} of about a hundred");
}
