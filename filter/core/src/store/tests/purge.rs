use super::*;

const PARTS: KeyParts<'static> = KeyParts {
    host: b"shop.example",
    path: b"/items/7?x=1",
    url: b"https://shop.example/items/7?x=1",
};
const TAGS: [&[u8]; 2] = [b"items", b"item-7"];

fn verdict(stamps: &Stamps, birth: Birth) -> Verdict {
    stamps.verdict(birth, &PARTS, TAGS.into_iter())
}

#[test]
fn each_kind_reaches_what_it_names_and_nothing_else() {
    let hits: [Purge<'_>; 9] = [
        Purge::All,
        Purge::Host(b"shop.example"),
        Purge::Url(b"https://shop.example/items/7?x=1"),
        Purge::Prefix {
            host: b"shop.example",
            path: b"/items/",
        },
        Purge::Prefix {
            host: b"",
            path: b"/it",
        },
        Purge::Prefix { host: b"", path: b"" },
        Purge::Prefix {
            host: b"shop.example",
            path: b"/items/7?x=1",
        },
        Purge::Tag {
            host: b"",
            tag: b"item-7",
        },
        Purge::Tag {
            host: b"shop.example",
            tag: b"items",
        },
    ];
    let misses: [Purge<'_>; 7] = [
        Purge::Host(b"other.example"),
        Purge::Url(b"https://shop.example/items/7"),
        Purge::Prefix {
            host: b"other.example",
            path: b"/items/",
        },
        Purge::Prefix {
            host: b"shop.example",
            path: b"/items/8",
        },
        Purge::Prefix {
            host: b"shop.example",
            path: b"/items/7?x=12",
        },
        Purge::Tag {
            host: b"",
            tag: b"item-8",
        },
        Purge::Tag {
            host: b"other.example",
            tag: b"items",
        },
    ];
    for soft in [false, true] {
        let expected = if soft { Verdict::Soft } else { Verdict::Purged };
        for what in hits {
            let (map, mut stamps) = (seeded(), Stamps::default());
            let before = stamps.birth();
            let number = stamps.purge(&map, what, soft, START).unwrap();
            assert_eq!(verdict(&stamps, before), expected, "{what:?}");
            assert_eq!(verdict(&stamps, number), Verdict::Live, "born afterwards: {what:?}");
        }
        for what in misses {
            let (map, mut stamps) = (seeded(), Stamps::default());
            let before = stamps.birth();
            stamps.purge(&map, what, soft, START).unwrap();
            assert_eq!(verdict(&stamps, before), Verdict::Live, "{what:?}");
        }
    }
}

#[test]
fn a_purge_is_in_force_elsewhere_from_the_refresh_on() {
    let map = seeded();
    let (mut one, mut two) = (Stamps::default(), Stamps::default());
    assert!(!two.refresh(&map, START));
    let birth = two.birth();
    one.purge(&map, Purge::Host(b"shop.example"), false, START).unwrap();
    assert!(two.refresh(&map, START));
    assert_eq!(verdict(&two, birth), Verdict::Purged);
    let reads = map.reads();
    assert!(!two.refresh(&map, START));
    assert_eq!(map.reads() - reads, 1);
    let mut late = Stamps::default();
    assert!(late.refresh(&map, START));
    assert_eq!(late.birth(), one.birth());
}

#[test]
fn a_body_in_flight_is_purged_too() {
    let (map, mut stamps) = (seeded(), Stamps::default());
    let mut store = Store::new(Limits::default(), Eviction::default());
    let birth = stamps.birth();
    stamps.purge(&map, Purge::All, false, START).unwrap();
    store
        .insert(
            &map,
            Entry {
                birth,
                ..entry(&key(1), value(1, 50))
            },
            |_| 0,
            START,
        )
        .unwrap();
    put(&mut store, &map, 2, START).unwrap();
    let third = key(3);
    let young = Entry {
        birth: stamps.birth(),
        ..entry(&third, value(3, 50))
    };
    store.insert(&map, young, |_| 0, START).unwrap();
    let found = store.lookup(&map, &key(1), |_| 0, START).unwrap();
    assert_eq!(verdict(&stamps, found.birth), Verdict::Purged);
    for _ in 0..20 {
        store.maintain(&map, &stamps, 64, START);
    }
    assert!(!has(&mut store, &map, 1, START) && !has(&mut store, &map, 2, START));
    assert!(has(&mut store, &map, 3, START), "the sweep takes only what was purged");
    assert_eq!(store.take_events().purged, 2);
    assert_eq!(ledger(&map).total, truth(&map));
}

#[test]
fn a_soft_purge_after_a_hard_one_does_not_bring_it_back() {
    let (map, mut stamps) = (seeded(), Stamps::default());
    let old = stamps.birth();
    let between = stamps.purge(&map, Purge::Host(b"shop.example"), false, START).unwrap();
    stamps.purge(&map, Purge::Host(b"shop.example"), true, START).unwrap();
    assert_eq!(verdict(&stamps, old), Verdict::Purged);
    assert_eq!(verdict(&stamps, between), Verdict::Soft);
}

#[test]
fn a_full_table_purges_too_much_never_too_little() {
    let (map, mut stamps) = (seeded(), Stamps::default());
    let birth = stamps.birth();
    stamps
        .purge(
            &map,
            Purge::Tag {
                host: b"",
                tag: b"item-7",
            },
            false,
            START,
        )
        .unwrap();
    for n in 0..3000 {
        let tag = format!("tag-{n}");
        stamps
            .purge(
                &map,
                Purge::Tag {
                    host: b"",
                    tag: tag.as_bytes(),
                },
                false,
                START,
            )
            .unwrap();
    }
    assert_eq!(verdict(&stamps, birth), Verdict::Purged);
    let mut late = Stamps::default();
    late.refresh(&map, START);
    assert_eq!(verdict(&late, birth), Verdict::Purged);

    let (map, mut stamps) = (seeded(), Stamps::default());
    let birth = stamps.birth();
    stamps
        .purge(
            &map,
            Purge::Prefix {
                host: b"shop.example",
                path: b"/items",
            },
            true,
            START,
        )
        .unwrap();
    for n in 0..200 {
        let path = "/".repeat(n + 2);
        stamps
            .purge(
                &map,
                Purge::Prefix {
                    host: b"x.example",
                    path: path.as_bytes(),
                },
                true,
                START,
            )
            .unwrap();
    }
    assert_eq!(verdict(&stamps, birth), Verdict::Soft);
    assert!(stamps.lengths() <= 64);
}

#[test]
fn purges_of_many_workers_are_all_kept() {
    let map = seeded();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let map = &map;
            scope.spawn(move || {
                let mut stamps = Stamps::default();
                for n in 0..50 {
                    let tag = format!("{worker}/{n}");
                    stamps
                        .purge(
                            map,
                            Purge::Tag {
                                host: b"",
                                tag: tag.as_bytes(),
                            },
                            false,
                            START,
                        )
                        .unwrap();
                }
            });
        }
    });
    let mut stamps = Stamps::default();
    stamps.refresh(&map, START);
    for worker in 0..8 {
        for n in 0..50 {
            let tag = format!("{worker}/{n}");
            let verdict = stamps.verdict(Birth::default(), &PARTS, [tag.as_bytes()].into_iter());
            assert_eq!(verdict, Verdict::Purged);
        }
    }
}

#[test]
fn a_lost_table_purges_everything_once() {
    let (map, mut stamps) = (seeded(), Stamps::default());
    let birth = stamps.purge(&map, Purge::Url(b"x"), false, START).unwrap();
    map.set(super::super::codec::STAMPS_KEY, b"damaged", None).unwrap();
    map.set(super::super::codec::STAMPS_VERSION_KEY, b"\xff\xff\xff\x7f", None)
        .unwrap();
    let mut other = Stamps::default();
    assert!(other.refresh(&map, START + 5000));
    assert_eq!(verdict(&other, birth), Verdict::Purged);
    assert_eq!(verdict(&other, other.birth()), Verdict::Live);
    other.purge(&map, Purge::Url(b"y"), false, START).unwrap();
    assert!(other.birth() > birth);
}

#[test]
fn a_response_from_elsewhere_is_purged_by_every_purge_since_the_origin_gave_it() {
    let (map, mut stamps) = (seeded(), Stamps::default());
    assert!(stamps.are_empty());
    let before = Birth::received(START - 5_000);
    stamps.purge(&map, Purge::Host(b"shop.example"), false, START).unwrap();
    assert!(!stamps.are_empty());
    assert_eq!(verdict(&stamps, before), Verdict::Purged);
    assert_eq!(
        verdict(&stamps, Birth::received(START)),
        Verdict::Purged,
        "within the same second: rather once too often"
    );
    assert_eq!(verdict(&stamps, Birth::received(START + 2_000)), Verdict::Live);
    stamps.purge(&map, Purge::All, true, START + 9_000).unwrap();
    assert_eq!(verdict(&stamps, Birth::received(START + 2_000)), Verdict::Soft);
}
