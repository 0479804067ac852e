//! The order of purges.

use super::*;

fn at(ms: u64) -> Fence {
    Fence { ms, sequence: 0 }
}

#[test]
fn a_purge_reaches_what_began_before_it_and_nothing_else() {
    let tags = ["shop".to_owned(), "group:products".to_owned()];
    let parts = Parts {
        host: "API.example.:80",
        path: "/products/%37caf%c3%a9?x=1",
        tags: &tags,
    };
    for (target, hit) in [
        (Target::All, true),
        (Target::Host("API.example".to_owned()), true),
        (Target::Host("other".to_owned()), false),
        (Target::Prefix("api.example/prod".to_owned()), true),
        (Target::Prefix("/prod".to_owned()), true),
        (Target::Prefix("api.example/users".to_owned()), false),
        (Target::Tag("shop".to_owned()), true),
        (Target::Tag("cart".to_owned()), false),
        (Target::Tag("products".to_owned()), true),
        (Target::Tag("group:products".to_owned()), true),
        (Target::Host("api.example:443".to_owned()), true),
        (
            Target::Prefix("http://api.example:80/products/7caf%C3%A".to_owned()),
            true,
        ),
        (
            Target::Url("http://api.example:80/products/7café?other".to_owned()),
            true,
        ),
        (
            Target::Url("https://u@api.example./x/../products/7caf%C3%A9".to_owned()),
            true,
        ),
        (Target::Url("http://api.example/products/8".to_owned()), false),
    ] {
        let mut table = PurgeTable::default();
        table.record(at(10), &Subject::of(&target));
        assert_eq!(table.purged(at(9), &parts), hit, "{target:?}");
        assert!(!table.purged(at(10), &parts), "{target:?} began after it");
    }
}

#[test]
fn ones_own_purge_is_in_force_and_does_not_hide_those_of_others_before_it() {
    let tags = ["shop".to_owned()];
    let parts = |path| Parts {
        host: "a",
        path,
        tags: &tags,
    };
    let url = |path: &str| Subject::of(&Target::Url(format!("http://a{path}")));
    let mut table = PurgeTable::default();
    table.record(at(10), &Subject::All);
    table.note(at(30), &url("/own"));
    assert!(table.purged(at(10), &parts("/own")) && !table.purged(at(10), &parts("/other")));
    let known = Known {
        read: at(10),
        newest: at(30),
    };
    assert_eq!((table.known(), table.last()), (known, at(10)));
    table.record(at(20), &Subject::of(&Target::Tag("shop".to_owned())));
    assert!(table.purged(at(10), &parts("/other")) && !table.purged(at(20), &parts("/other")));
}

#[test]
fn a_subject_written_by_an_earlier_version_is_still_found() {
    let old = Subject::Url {
        host: "h".to_owned(),
        path: "/caf%c3%a9".to_owned(),
    };
    let mut table = PurgeTable::default();
    table.record(at(10), &old);
    for (host, path) in [("h", "/caf%c3%a9"), ("h:8080", "/caf%C3%A9?x")] {
        let parts = Parts { host, path, tags: &[] };
        assert!(table.purged(at(9), &parts), "{host}{path}");
    }
}

#[test]
fn a_table_that_is_full_purges_more() {
    let mut table = PurgeTable::default();
    for number in 0..=MAX_SUBJECTS as u64 {
        table.record(
            at(number + 1),
            &Subject::Host {
                host: number.to_string(),
            },
        );
    }
    let parts = Parts {
        host: "never named",
        path: "/",
        tags: &[],
    };
    assert!(table.purged(at(5), &parts));
    assert!(!table.purged(table.last(), &parts));
    assert_eq!(table.subjects(), 0);
}

#[test]
fn places_are_ordered_also_within_a_millisecond_and_when_the_clock_stands() {
    let first = Fence::default().next(5);
    let second = first.next(5);
    let third = second.next(4);
    assert!(first < second && second < third);
    assert_eq!(Fence::parse(&third.to_string()), Some(third));
    assert_eq!(Fence::parse("x"), None);
}
