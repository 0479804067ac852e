use super::*;
use optimizer_proto::purge::PurgeTarget;

const PARTS: KeyParts<'static> = KeyParts {
    host: b"shop.example",
    path: b"/items/7?x=1",
};
const TAGS: [&[u8]; 2] = [b"items", b"item-7"];

fn verdict(invalidation_log: &InvalidationLog, purge_generation: PurgeGeneration) -> Verdict {
    invalidation_log.verdict(purge_generation, &PARTS, TAGS.into_iter())
}

#[test]
fn each_kind_reaches_what_it_names_and_nothing_else() {
    let hits: [PurgeTarget; 9] = [
        PurgeTarget::All,
        PurgeTarget::host(b"shop.example"),
        PurgeTarget::url(b"shop.example", b"/items/7?x=1"),
        PurgeTarget::prefix(b"shop.example", b"/items/"),
        PurgeTarget::prefix(b"", b"/it"),
        PurgeTarget::prefix(b"", b""),
        PurgeTarget::prefix(b"shop.example", b"/items/7?x=1"),
        PurgeTarget::tag(b"", b"item-7"),
        PurgeTarget::tag(b"shop.example", b"items"),
    ];
    let misses: [PurgeTarget; 7] = [
        PurgeTarget::host(b"other.example"),
        PurgeTarget::url(b"shop.example", b"/items/7"),
        PurgeTarget::prefix(b"other.example", b"/items/"),
        PurgeTarget::prefix(b"shop.example", b"/items/8"),
        PurgeTarget::prefix(b"shop.example", b"/items/7?x=12"),
        PurgeTarget::tag(b"", b"item-8"),
        PurgeTarget::tag(b"other.example", b"items"),
    ];
    for soft in [false, true] {
        let expected = if soft { Verdict::Soft } else { Verdict::Purged };
        for what in &hits {
            let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
            let before = invalidation_log.purge_generation();
            let number = invalidation_log.purge(&map, what, soft, START).unwrap();
            assert_eq!(verdict(&invalidation_log, before), expected, "{what:?}");
            assert_eq!(
                verdict(&invalidation_log, number),
                Verdict::Live,
                "born afterwards: {what:?}"
            );
        }
        for what in &misses {
            let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
            let before = invalidation_log.purge_generation();
            invalidation_log.purge(&map, what, soft, START).unwrap();
            assert_eq!(verdict(&invalidation_log, before), Verdict::Live, "{what:?}");
        }
    }
}

#[test]
fn a_purge_is_in_force_elsewhere_from_the_refresh_on() {
    let map = seeded();
    let (mut one, mut two) = (InvalidationLog::default(), InvalidationLog::default());
    assert!(!two.refresh(&map, START));
    let purge_generation = two.purge_generation();
    one.purge(&map, &PurgeTarget::host(b"shop.example"), false, START)
        .unwrap();
    assert!(two.refresh(&map, START));
    assert_eq!(verdict(&two, purge_generation), Verdict::Purged);
    let reads = map.reads();
    assert!(!two.refresh(&map, START));
    assert_eq!(map.reads() - reads, 1);
    let mut late = InvalidationLog::default();
    assert!(late.refresh(&map, START));
    assert_eq!(late.purge_generation(), one.purge_generation());
}

#[test]
fn a_body_in_flight_is_purged_too() {
    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    let mut store = Store::new(Limits::default(), Eviction::default());
    let purge_generation = invalidation_log.purge_generation();
    invalidation_log.purge(&map, &PurgeTarget::All, false, START).unwrap();
    store
        .insert(
            &map,
            Entry {
                fetch_ms: 0,
                purge_generation,
                ..entry(&key(1), value(1, 50))
            },
            |_| 0,
            START,
        )
        .unwrap();
    put(&mut store, &map, 2, START).unwrap();
    let third = key(3);
    let young = Entry {
        fetch_ms: 0,
        purge_generation: invalidation_log.purge_generation(),
        ..entry(&third, value(3, 50))
    };
    store.insert(&map, young, |_| 0, START).unwrap();
    let found = store.lookup(&map, &key(1), |_| 0, START).unwrap();
    assert_eq!(verdict(&invalidation_log, found.purge_generation), Verdict::Purged);
    for _ in 0..20 {
        store.maintain(&map, &invalidation_log, 64, START);
    }
    assert!(!has(&mut store, &map, 1, START) && !has(&mut store, &map, 2, START));
    assert!(has(&mut store, &map, 3, START), "the sweep takes only what was purged");
    assert_eq!(store.take_events().purged, 2);
    assert_eq!(ledger(&map).total, truth(&map));
}

#[test]
fn a_soft_purge_after_a_hard_one_does_not_bring_it_back() {
    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    let old = invalidation_log.purge_generation();
    let between = invalidation_log
        .purge(&map, &PurgeTarget::host(b"shop.example"), false, START)
        .unwrap();
    invalidation_log
        .purge(&map, &PurgeTarget::host(b"shop.example"), true, START)
        .unwrap();
    assert_eq!(verdict(&invalidation_log, old), Verdict::Purged);
    assert_eq!(verdict(&invalidation_log, between), Verdict::Soft);
}

#[test]
fn a_full_table_purges_too_much_never_too_little() {
    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    let purge_generation = invalidation_log.purge_generation();
    invalidation_log
        .purge(&map, &PurgeTarget::tag(b"", b"item-7"), false, START)
        .unwrap();
    for n in 0..3000 {
        let tag = format!("tag-{n}");
        invalidation_log
            .purge(&map, &PurgeTarget::tag(b"", tag.as_bytes()), false, START)
            .unwrap();
    }
    assert_eq!(verdict(&invalidation_log, purge_generation), Verdict::Purged);
    let mut late = InvalidationLog::default();
    late.refresh(&map, START);
    assert_eq!(verdict(&late, purge_generation), Verdict::Purged);

    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    let purge_generation = invalidation_log.purge_generation();
    invalidation_log
        .purge(&map, &PurgeTarget::prefix(b"shop.example", b"/items"), true, START)
        .unwrap();
    for n in 0..200 {
        let path = format!("/{}", "x".repeat(n + 1));
        invalidation_log
            .purge(&map, &PurgeTarget::prefix(b"x.example", path.as_bytes()), true, START)
            .unwrap();
    }
    assert_eq!(verdict(&invalidation_log, purge_generation), Verdict::Soft);
    assert!(invalidation_log.lengths() <= 64);
}

#[test]
fn purges_of_many_workers_are_all_kept() {
    let map = seeded();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let map = &map;
            scope.spawn(move || {
                let mut invalidation_log = InvalidationLog::default();
                for n in 0..50 {
                    let tag = format!("{worker}/{n}");
                    invalidation_log
                        .purge(map, &PurgeTarget::tag(b"", tag.as_bytes()), false, START)
                        .unwrap();
                }
            });
        }
    });
    let mut invalidation_log = InvalidationLog::default();
    invalidation_log.refresh(&map, START);
    for worker in 0..8 {
        for n in 0..50 {
            let tag = format!("{worker}/{n}");
            let verdict = invalidation_log.verdict(PurgeGeneration::default(), &PARTS, [tag.as_bytes()].into_iter());
            assert_eq!(verdict, Verdict::Purged);
        }
    }
}

#[test]
fn a_lost_table_purges_everything_once() {
    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    let purge_generation = invalidation_log
        .purge(&map, &PurgeTarget::url(b"x", b"/"), false, START)
        .unwrap();
    map.set(crate::shared_map::keys::INVALIDATION_LOG, b"damaged", None)
        .unwrap();
    map.set(crate::shared_map::keys::LAST_PURGE, b"\xff\xff\xff\x7f", None)
        .unwrap();
    let mut other = InvalidationLog::default();
    assert!(other.refresh(&map, START + 5000));
    assert_eq!(verdict(&other, purge_generation), Verdict::Purged);
    assert_eq!(verdict(&other, other.purge_generation()), Verdict::Live);
    other.purge(&map, &PurgeTarget::url(b"y", b"/"), false, START).unwrap();
    assert!(other.purge_generation() > purge_generation);
}

#[test]
fn a_response_from_elsewhere_is_purged_by_every_purge_since_the_origin_gave_it() {
    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    assert!(invalidation_log.are_empty());
    let before = PurgeGeneration::received(START - 5_000);
    invalidation_log
        .purge(&map, &PurgeTarget::host(b"shop.example"), false, START)
        .unwrap();
    assert!(!invalidation_log.are_empty());
    assert_eq!(verdict(&invalidation_log, before), Verdict::Purged);
    assert_eq!(
        verdict(&invalidation_log, PurgeGeneration::received(START)),
        Verdict::Purged,
        "within the same second: rather once too often"
    );
    assert_eq!(
        verdict(&invalidation_log, PurgeGeneration::received(START + 2_000)),
        Verdict::Live
    );
    invalidation_log
        .purge(&map, &PurgeTarget::All, true, START + 9_000)
        .unwrap();
    assert_eq!(
        verdict(&invalidation_log, PurgeGeneration::received(START + 2_000)),
        Verdict::Soft
    );
}

#[test]
fn every_spelling_of_a_url_is_one_subject() {
    let spellings: [(&[u8], &[u8]); 5] = [
        (b"shop.example", b"/caf%c3%a9"),
        (b"SHOP.example.", b"/caf%C3%A9"),
        (b"shop.example:80", "/café".as_bytes()),
        (b"shop.example:443", b"//x/../caf%C3%A9?"),
        (b"a@shop.example", b"/%63af%C3%A9#f"),
    ];
    for (host, path) in spellings {
        for (name, spelt) in spellings {
            for what in [
                PurgeTarget::url(name, spelt),
                PurgeTarget::host(name),
                PurgeTarget::prefix(name, b"/caf%c3"),
                PurgeTarget::prefix(b"", b"/caf%C3%A"),
                PurgeTarget::tag(name, b"g"),
            ] {
                let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
                let before = invalidation_log.purge_generation();
                invalidation_log.purge(&map, &what, false, START).unwrap();
                let tags: [&[u8]; 1] = [b"group:g"];
                let found = invalidation_log.verdict(before, &KeyParts { host, path }, tags.into_iter());
                assert_eq!(found, Verdict::Purged, "{what:?}");
                let stored = optimizer_proto::purge::Stored::new(host, path);
                assert!(what.matches(&stored, tags.into_iter()), "{what:?}");
            }
        }
    }
}

#[test]
fn a_table_of_another_version_purges_everything() {
    let (map, mut invalidation_log) = (seeded(), InvalidationLog::default());
    let purge_generation = invalidation_log
        .purge(&map, &PurgeTarget::url(b"x", b"/"), false, START)
        .unwrap();
    let (mut table, _) = map.get(crate::shared_map::keys::INVALIDATION_LOG).unwrap();
    table[..4].copy_from_slice(b"aop1");
    map.set(crate::shared_map::keys::INVALIDATION_LOG, &table, None)
        .unwrap();
    let mut newer = InvalidationLog::default();
    assert!(newer.refresh(&map, START + 5_000));
    assert_eq!(verdict(&newer, purge_generation), Verdict::Purged);
}
