//! Snapshots: there whole or not at all. Purges: known by whom they are done.

use crate::played::{Played, Said, Seen};
use crate::program::Program;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

const WHOLE: &str = r#"{"format":"api-optimizer-cache-snapshot","entries":[{"checksum":"a","record":"x"}],"complete":true,"incomplete_because":"","count":1,"checksum":"af63dc4c8601ec8c"}"#;

#[test]
fn a_whole_snapshot_is_a_file_for_its_owner_and_is_not_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let played = Played::new(|_| Said::new(200, WHOLE));
    let file = home.path().join("s.json");
    let (path, server) = (file.display().to_string(), played.url());
    let run = |more: &[&str]| {
        let arguments = [&["snapshot", &path, "--server", &server], more].concat();
        Program::new(home.path(), &arguments).run()
    };
    run(&["--host", "a.example"]).code(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), WHOLE);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(played.seen()[0].line, "POST /cache/snapshot?host=a.example");
    run(&[]).code(2);
    run(&["--force"]).code(0);
}

#[test]
fn half_a_snapshot_leaves_the_old_file_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let played = Played::new(|_| Said::new(200, WHOLE.get(..60).unwrap()));
    let file = home.path().join("s.json");
    std::fs::write(&file, "the old one").unwrap();
    let path = file.display().to_string();
    let ended = Program::new(home.path(), &["snapshot", &path, "--force", "--server", &played.url()])
        .run()
        .code(3);
    assert!(ended.err.contains("broke off"), "{}", ended.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "the old one");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn half_a_snapshot_is_not_sent() {
    let home = tempfile::tempdir().unwrap();
    let played = Played::new(|_| {
        Said::new(
            200,
            r#"{"read":1,"restored":1,"intact":true,"complete":true,"envoys":["a"],"not_answered":[]}"#,
        )
    });
    let file = home.path().join("s.json");
    let path = file.display().to_string();
    std::fs::write(&file, WHOLE.get(..60).unwrap()).unwrap();
    let restore = || Program::new(home.path(), &["restore", &path, "--server", &played.url()]).run();
    let ended = restore().code(5);
    assert!(ended.err.contains("half a snapshot"), "{}", ended.err);
    assert!(played.seen().is_empty());
    std::fs::write(&file, WHOLE).unwrap();
    restore().code(0);
    let sent = played.seen()[0].clone();
    assert!(
        sent.body
            .contains(r#""entries":[{"checksum":"a","record":"x"}],"complete":true"#),
        "{}",
        sent.body
    );
    let length = WHOLE.len();
    assert_eq!(
        sent.line,
        format!("POST /cache/restore?part_from=0&part_to={length}&part_of={length}")
    );
}

#[test]
fn a_purge_is_waited_for_until_all_who_are_here_have_done_it() {
    let looks = AtomicUsize::new(0);
    let played = Played::new(move |seen: &Seen| {
        let late = seen.line.starts_with("POST") || looks.fetch_add(1, Ordering::Relaxed) < 2;
        let list = if late { r#"[{"node_id":"a"}]"# } else { "[]" };
        Said::new(
            202,
            format!(
                r#"{{"id":"7","complete":false,"replicas":"told","shared_tier":"applied","matched":null,
            "matched_at_least":0,"hint":null,"targets":[],"applied":[],"late":{list},"away":[{{"node_id":"b"}}],"unknown":[]}}"#
            ),
        )
    });
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let server = played.url();
        let all = [arguments, &["--server", &server]].concat();
        Program::new(home.path(), &all).run()
    };
    // Accepted: that was all that was asked for.
    run(&["purge", "--tag", "news", "--tag", "sport"]).code(0);
    let first = played.seen()[0].clone();
    assert_eq!(
        (first.line.as_str(), first.body.as_str()),
        ("POST /cache/purge", r#"{"tags":["news","sport"]}"#)
    );
    // One is away: not everywhere.
    let ended = run(&["purge", "--tag", "news", "--wait"]).code(1);
    assert!(ended.out.contains("done by all who are here"), "{}", ended.out);
    assert_eq!(
        played
            .seen()
            .iter()
            .filter(|seen| seen.line == "GET /cache/purges/7")
            .count(),
        3
    );
    let ended = run(&["purge", "--all"]).code(2);
    assert!(ended.err.contains("--yes"), "{}", ended.err);
    run(&["purge"]).code(2);
}

#[test]
fn a_purge_without_an_answer_tells_how_it_is_repeated_safely() {
    let played = Played::new(|_| Said::new(503, r#"{"title":"later"}"#));
    let home = tempfile::tempdir().unwrap();
    let arguments = [
        "purge",
        "--url",
        "http://a/",
        "--server",
        &played.url(),
        "--idempotency-key",
        "mine",
    ];
    let ended = Program::new(home.path(), &arguments).run().code(3);
    assert!(
        ended.err.contains("--idempotency-key mine purges once"),
        "{}",
        ended.err
    );
}
