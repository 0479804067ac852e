use super::*;
use serde_json::json;

fn history() -> SettingsHistory {
    SettingsHistory::new("e".to_owned(), &Settings::default(), 0)
}

fn set(history: &mut SettingsHistory, size: u64) -> Accepted {
    let accepted = history
        .propose(&Change::Merge(json!({"cache_size": size})), None, Author::default(), 1)
        .unwrap();
    if accepted.changed {
        assert!(history.accept(accepted.revision.clone()));
    }
    accepted
}

#[test]
fn a_change_makes_one_revision_and_no_change_none() {
    let mut history = history();
    assert_eq!(set(&mut history, 50).revision.number, 2);
    assert!(!set(&mut history, 50).changed);
    assert_eq!(history.present().number, 2);
    assert_eq!(
        difference(
            &history.revisions().next().unwrap().document,
            &history.present().document
        ),
        vec![("/cache_size".to_owned(), json!(10_000), json!(50))]
    );
}

#[test]
fn a_refused_change_changes_nothing_and_tells_everything() {
    let history = history();
    let change = Change::Merge(json!({"cache_size": 0, "nonsense": 1, "default_ttl": "5 parsecs"}));
    let Err(Refused::Violations(violations)) = history.propose(&change, None, Author::default(), 1) else {
        panic!()
    };
    let mut paths: Vec<&str> = violations.iter().map(|violation| violation.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/cache_size", "/default_ttl", "/nonsense"]);
}

#[test]
fn of_two_writers_on_one_base_one_wins() {
    let mut history = history();
    let propose = |history: &SettingsHistory, size: u64| {
        history.propose(
            &Change::Merge(json!({"cache_size": size})),
            Some(1),
            Author::default(),
            1,
        )
    };
    let (first, second) = (propose(&history, 5).unwrap(), propose(&history, 6).unwrap());
    assert!(history.accept(first.revision));
    assert!(!history.accept(second.revision));
    assert_eq!(
        propose(&history, 7),
        Err(Refused::Conflict {
            expected: 1,
            present: 2
        })
    );
}

#[test]
fn a_rollback_is_a_new_revision_with_an_old_document() {
    let mut history = history();
    set(&mut history, 50);
    set(&mut history, 60);
    let back = history.propose_rollback(None, None, Author::default(), 2).unwrap();
    assert_eq!(
        (back.revision.number, back.revision.document["cache_size"].clone()),
        (4, json!(50))
    );
    let first = history.propose_rollback(Some(1), None, Author::default(), 2).unwrap();
    assert_eq!(first.revision.document["cache_size"], json!(10_000));
    assert_eq!(
        history.propose_rollback(Some(99), None, Author::default(), 2),
        Err(Refused::UnknownRevision(99))
    );
}

#[test]
fn a_lost_revision_is_gone_above() {
    let mut history = history();
    set(&mut history, 50);
    history.reissue(7, Author::default(), 3);
    assert_eq!(
        (history.present().number, &history.present().document["cache_size"]),
        (8, &json!(50))
    );
    assert_eq!(set(&mut history, 60).revision.number, 9);
}

#[test]
fn a_history_of_another_version_is_brought_up_to_date() {
    let revision = |number, document| Revision {
        number,
        at_ms: 0,
        author: Author::default(),
        document,
    };
    let mut newer = Settings::default().to_json();
    newer["from_the_future"] = json!({"a": 1});
    newer["cache_size"] = json!(50);
    let broken = json!({"cache_size": "none"});
    for (documents, size, says) in [
        (vec![newer.clone()], 50, "/from_the_future"),
        (vec![json!({"cache_size": 60})], 60, "defaults"),
        (vec![newer, broken.clone()], 50, "back to 1"),
        (vec![broken], 10_000, "back to 0"),
    ] {
        let count = documents.len() as u64;
        let revisions = (1..)
            .zip(documents)
            .map(|(at, document)| revision(at, document))
            .collect();
        let mut history = SettingsHistory::restored("e".to_owned(), revisions).unwrap();
        let reason = history.bring_up_to_date(1).unwrap();
        assert!(reason.contains(says), "{reason}");
        assert_eq!(history.present().document["cache_size"], json!(size));
        assert_eq!(history.present().number, count + 1);
        assert_eq!(history.bring_up_to_date(1), None, "once");
    }
}

#[test]
fn the_history_is_bounded_and_survives_being_written_down() {
    let mut history = history();
    for size in 1..500 {
        set(&mut history, size);
    }
    assert_eq!(history.revisions().count(), 200);
    let read = SettingsHistory::restored("e".to_owned(), history.revisions().cloned().collect()).unwrap();
    assert_eq!(read, history);
    assert!(SettingsHistory::restored("e".to_owned(), Vec::new()).is_none());
    let mut shuffled: Vec<Revision> = history.revisions().cloned().collect();
    shuffled.swap(0, 1);
    assert!(SettingsHistory::restored("e".to_owned(), shuffled).is_none());
}

#[test]
fn a_document_that_is_too_large_with_all_that_it_does_not_say_is_refused() {
    let endpoints = |count: usize| -> Vec<_> {
        let address = |number: usize| json!({"address": format!("192.0.2.1:{}", number + 1)});
        (0..count).map(address).collect()
    };
    let upstreams = |count: usize| -> Vec<_> {
        let upstream = |number: usize| json!({"name": format!("u{number}"), "endpoints": endpoints(200)});
        (0..count).map(upstream).collect()
    };
    let propose = |count: usize| {
        let change = Change::Merge(json!({"upstreams": upstreams(count)}));
        history().propose(&change, None, Author::default(), 1)
    };
    // Three values an endpoint, and five with its weight: 48 upstreams have less than 50,000, 60 of them less only without weights.
    assert!(propose(48).unwrap().changed);
    let refused = propose(60).map(|accepted| accepted.changed);
    assert!(
        matches!(refused, Err(Refused::Change(ChangeError::TooLarge(_)))),
        "{refused:?}"
    );
}
