use super::*;

fn purge(id: &str, at: Millis, target: Target) -> Purge {
    Purge {
        id: id.to_owned(),
        at,
        by: String::new(),
        reason: String::new(),
        targets: vec![target],
        soft: false,
        idempotency_key: None,
        applied: BTreeMap::new(),
        matched: BTreeMap::new(),
        awaited: BTreeSet::new(),
        unrecorded: false,
        round: 0,
    }
}

#[test]
fn an_envoy_that_was_away_is_told_what_it_missed_once() {
    let mut log = PurgeLog::default();
    log.accept(purge("1", 100_000, Target::All)).unwrap();
    log.accept(purge("2", 200_000, Target::Host("a".to_owned()))).unwrap();
    let ids = |log: &PurgeLog, envoy: &str, started| -> Vec<String> {
        log.missing(envoy, started)
            .unwrap()
            .into_iter()
            .map(|purge| purge.id)
            .collect()
    };
    assert_eq!(ids(&log, "x", 0), ["1", "2"]);
    assert_eq!(ids(&log, "x", 190_000), ["2"], "the first was before its time");
    log.applied("2", "x", 5, None);
    assert_eq!(ids(&log, "x", 0), ["1"]);
    assert_eq!(ids(&log, "y", 0), ["1", "2"]);
}

#[test]
fn who_was_away_for_longer_than_is_remembered_forgets_everything() {
    let mut log = PurgeLog::default();
    for at in 0..=2_000 {
        log.accept(purge(&at.to_string(), 1_000_000 + at, Target::Tag("t".to_owned())))
            .unwrap();
    }
    assert_eq!(log.all().count(), 2_000);
    assert!(log.missing("x", 0).is_none());
    assert_eq!(log.missing("new", 2_000_000).unwrap().len(), 0);
    assert!(log.covers("http://a/b", &[], 1_000_000), "as old as what is forgotten");
    // Long ones sooner: 65 of these name more than 32 MB.
    let mut log = PurgeLog::default();
    for at in 0..80 {
        let mut long = purge(&at.to_string(), at, Target::All);
        long.targets = vec![Target::Tag("t".repeat(8_192)); 64];
        log.accept(long).unwrap();
    }
    assert!((60..=64).contains(&log.all().count()), "{}", log.all().count());
}

#[test]
fn the_same_key_is_the_same_purge() {
    let mut log = PurgeLog::default();
    let mut first = purge("1", 1, Target::All);
    first.idempotency_key = Some("k".to_owned());
    log.accept(first.clone()).unwrap();
    let again = Purge {
        id: "2".to_owned(),
        ..first.clone()
    };
    assert_eq!(log.accept(again), Err(Box::new(first)));
}

#[test]
fn what_a_purge_covers() {
    let tags = ["shop".to_owned(), "group:products".to_owned()];
    let url = "http://api.example/products/caf%c3%a9?x=1";
    for (target, covered) in [
        (Target::All, true),
        (Target::Host("API.example.:80".to_owned()), true),
        (Target::Host("other".to_owned()), false),
        (Target::Prefix("api.example/prod".to_owned()), true),
        (
            Target::Prefix("http://api.example:80/products/caf%C3%A".to_owned()),
            true,
        ),
        (Target::Prefix("/prod".to_owned()), true),
        (Target::Prefix("api.example/users".to_owned()), false),
        (Target::Tag("shop".to_owned()), true),
        (Target::Tag("products".to_owned()), true),
        (Target::Tag("group:products".to_owned()), true),
        (Target::Tag("hop".to_owned()), false),
        (Target::Tag("cart".to_owned()), false),
        (Target::Url("https://api.example/products/café?x=1".to_owned()), true),
        (
            Target::Url("http://api.example:80/products/caf%C3%A9?utm=1".to_owned()),
            true,
        ),
        (Target::Url("http://api.example/products/8".to_owned()), false),
        (Target::Url("http://other/products/café".to_owned()), false),
    ] {
        assert_eq!(target.covers(url, &tags), covered, "{target:?}");
    }
}

#[test]
fn what_was_matched_is_known_when_all_have_counted() {
    let mut log = PurgeLog::default();
    log.accept(purge("1", 1, Target::All)).unwrap();
    let sum = |log: &PurgeLog| log.get("1").unwrap().matched();
    let of = |at_least, all| Some(Matched { at_least, all });
    assert_eq!(sum(&log).known(), None, "nobody has done it");
    log.applied("1", "a", 5, of(3, true));
    assert_eq!(sum(&log).known(), Some(3));
    log.applied("1", "b", 5, None);
    assert_eq!((sum(&log).known(), sum(&log).at_least), (None, 3));
    log.applied("1", "b", 9, of(2, false));
    assert_eq!((sum(&log).known(), sum(&log).at_least), (None, 5));
    log.applied("1", "b", 9, of(4, true));
    assert_eq!(sum(&log).known(), Some(7));
    log.applied("1", "b", 10, of(0, false));
    assert_eq!(sum(&log).known(), Some(7), "told again out of order");
    assert_eq!(log.get("1").unwrap().applied["b"], 5);
    let counted = Matched { at_least: 2, all: true };
    let newer = PurgeCount {
        newer: 1,
        ..PurgeCount::default()
    };
    assert_eq!(counted.plus(&newer).known(), None);
}

#[test]
fn who_was_there_is_awaited_until_it_has_done_it() {
    let mut log = PurgeLog::default();
    let there = ["a", "b", "by-client"];
    let mut made = purge("1", 1_000_000, Target::All);
    made.applied.insert("by-client".to_owned(), 1_000_000);
    log.accept(made.awaiting(there.into_iter())).unwrap();
    let awaited = |log: &PurgeLog| log.get("1").unwrap().awaited.iter().cloned().collect::<Vec<_>>();
    assert_eq!(awaited(&log), ["a", "b"]);
    log.applied("1", "a", 1_000_001, None);
    assert_eq!(awaited(&log), ["b"]);
    assert!(log.knows("a") && !log.knows("b"));
    log.reopen("1");
    assert_eq!(awaited(&log), ["a", "b", "by-client"]);
    // What is written down is what is known after a restart; older journals do not name anybody.
    let written = serde_json::to_value(log.get("1").unwrap()).unwrap();
    assert_eq!(
        serde_json::from_value::<Purge>(written.clone()).unwrap(),
        *log.get("1").unwrap()
    );
    let mut older = written;
    older.as_object_mut().unwrap().remove("awaited");
    assert!(serde_json::from_value::<Purge>(older).unwrap().awaited.is_empty());
    let many: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let large = purge("2", 1, Target::All).awaiting(many.iter().map(String::as_str));
    assert_eq!(large.awaited.len(), MAX_AWAITED);
}

#[test]
fn a_purge_concerns_who_was_there_before_it() {
    let purge = purge("1", 1_000_000, Target::All);
    for (started_ms, concerned) in [(0, true), (1_000_000, true), (1_060_000, true), (1_060_001, false)] {
        assert_eq!(purge.concerns(started_ms), concerned, "{started_ms}");
    }
}

#[test]
fn receipts_from_before_a_purge_was_reopened_count_for_nothing() {
    let mut log = PurgeLog::default();
    let waits = |id: &str| Purge {
        unrecorded: true,
        ..purge(id, 5, Target::All)
    };
    log.accept(waits("1")).unwrap();
    assert_eq!(log.unrecorded().count(), 1);
    assert!(log.applied_in(0, "1", "a", 6, None));
    assert_eq!(log.reopen("1"), 1);
    let names = |log: &PurgeLog| log.get("1").unwrap().applied.keys().cloned().collect::<Vec<_>>();
    assert!(names(&log).is_empty() && log.unrecorded().count() == 0);
    assert!(!log.applied_in(0, "1", "b", 7, None), "on its way since before");
    assert!(log.applied_in(1, "1", "a", 8, None));
    log.reopen_to("1", 1);
    assert_eq!(names(&log), ["a"], "told of twice");
    assert!(
        log.applied_in(2, "1", "b", 9, None),
        "the receipt came before word of the round"
    );
    assert_eq!(names(&log), ["b"]);
}

#[test]
fn what_others_know_of_a_purge_is_learned_whoever_is_ahead() {
    let mut ahead = PurgeLog::default();
    let waits = |id: &str| Purge {
        unrecorded: true,
        ..purge(id, 5, Target::All)
    };
    ahead.accept(waits("1")).unwrap();
    ahead.reopen("1");
    ahead.applied("1", "a", 8, None);
    let mut behind = PurgeLog::default();
    behind.accept(waits("1")).unwrap();
    behind.applied("1", "b", 6, None);
    let stale = behind.get("1").unwrap().clone();
    behind.learn(ahead.get("1").unwrap());
    ahead.learn(&stale);
    for log in [&ahead, &behind] {
        let purge = log.get("1").unwrap();
        assert_eq!(purge.applied.keys().collect::<Vec<_>>(), ["a"]);
        assert!(purge.round == 1 && !purge.unrecorded);
    }
    let mut early = PurgeLog::default();
    early.accept(waits("2")).unwrap();
    early.learn(&purge("2", 5, Target::All));
    assert!(!early.get("2").unwrap().unrecorded, "recorded before anybody was told");
    early.accept(waits("3")).unwrap();
    early.recorded("3");
    assert_eq!(early.unrecorded().count(), 0);
}
