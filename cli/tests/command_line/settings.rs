//! Settings in an editor: nothing that was written is lost.

use crate::played::{Played, Said, Seen};
use crate::program::{Ended, Program};
use serde_json::{Value, json};
use std::path::Path;

/// Takes every document with a `cache_size` above 0, and writes it unless `conflict`.
fn control_plane(conflict: bool) -> Played {
    Played::new(move |seen: &Seen| {
        if seen.line == "GET /settings" {
            return Said::new(200, r#"{"cache_size":10000,"default_ttl":"0s"}"#).etag("\"e-1\"");
        }
        let document: Value = serde_json::from_str(&seen.body).unwrap();
        if document["cache_size"] == json!(0) {
            return Said::new(
                422,
                r#"{"title":"The settings are refused; nothing has changed","violations":[
                {"path":"/cache_size","message":"given 0"},{"path":"/ttl","message":"there is no setting \"ttl\""}]}"#,
            );
        }
        let dry = seen.line.contains("dry_run=true");
        if conflict && !dry {
            return Said::new(412, r#"{"title":"Somebody else was first"}"#);
        }
        let changes = json!([{"path": "/cache_size", "before": 10000, "after": document["cache_size"]}]);
        let written = json!({"revision": 2, "dry_run": dry, "changed": true, "changes": changes, "stragglers": [], "refused": [], "notices": []});
        Said::new(200, written.to_string())
    })
}

fn edit(home: &Path, played: &Played, editor: &str, more: &[&str]) -> Ended {
    let server = played.url();
    let arguments = [&["settings", "edit", "--server", &server], more].concat();
    Program::new(home, &arguments).env("EDITOR", editor).run()
}

fn kept(home: &Path) -> Vec<String> {
    let files = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    let ours = files.filter(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("optimizer-settings-")
    });
    ours.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

const GOOD: &str = "sed -i s/10000/500/";
const BAD: &str = "sed -i s/10000/0/";

#[test]
fn a_good_edit_is_written_on_the_revision_that_was_read() {
    let home = tempfile::tempdir().unwrap();
    let played = control_plane(false);
    let ended = edit(home.path(), &played, GOOD, &["--yes", "--reason", "why not"]).code(0);
    assert!(
        ended
            .out
            .contains("- /cache_size: 10000\n+ /cache_size: 500\nRevision 2."),
        "{}",
        ended.out
    );
    let seen = played.seen();
    let written = seen.last().unwrap();
    assert_eq!(written.line, "PUT /settings?reason=why+not");
    assert_eq!(written.if_match, "\"e-1\"");
    assert_eq!(
        serde_json::from_str::<Value>(&written.body).unwrap(),
        json!({"cache_size": 500, "default_ttl": "0s"})
    );
    assert!(kept(home.path()).is_empty());
}

#[test]
fn a_refused_edit_shows_every_violation_and_keeps_the_text() {
    let home = tempfile::tempdir().unwrap();
    let played = control_plane(false);
    let ended = edit(home.path(), &played, BAD, &["--yes"]).code(5);
    assert!(
        ended
            .err
            .contains("  /cache_size: given 0\n  /ttl: there is no setting \"ttl\"\n"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("optimizer settings edit --from "), "{}", ended.err);
    assert!(kept(home.path())[0].contains("cache_size: 0"));
    assert!(
        played
            .seen()
            .iter()
            .all(|seen| seen.line.starts_with("GET") || seen.line.contains("dry_run=true"))
    );
}

#[test]
fn an_edit_that_somebody_else_was_first_to_keeps_the_text() {
    let home = tempfile::tempdir().unwrap();
    let ended = edit(home.path(), &control_plane(true), GOOD, &["--yes"]).code(6);
    assert!(ended.err.contains("Somebody else was first"), "{}", ended.err);
    assert!(kept(home.path())[0].contains("cache_size: 500"));
}

#[test]
fn a_kept_text_can_be_taken_up_again() {
    let home = tempfile::tempdir().unwrap();
    let played = control_plane(false);
    let file = home.path().join("mine.yaml");
    std::fs::write(&file, "cache_size: 700\n").unwrap();
    let file = file.display().to_string();
    edit(home.path(), &played, "true", &["--yes", "--from", &file]).code(0);
    assert_eq!(played.seen().last().unwrap().body, r#"{"cache_size":700}"#);
}

#[test]
fn without_a_change_without_an_answer_or_without_an_editor_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let played = control_plane(false);
    let ended = edit(home.path(), &played, "true", &[]).code(0);
    assert_eq!(ended.out, "Nothing was changed.\n");
    // Nobody can be asked.
    let ended = edit(home.path(), &played, GOOD, &[]).code(2);
    assert!(ended.err.contains("add --yes"), "{}", ended.err);
    edit(home.path(), &played, "false", &["--yes"]).code(2);
    let ended = edit(home.path(), &played, "echo '[' >>", &["--yes"]).code(5);
    assert!(ended.err.contains("neither JSON nor YAML"), "{}", ended.err);
    assert!(
        played
            .seen()
            .iter()
            .all(|seen| seen.line.starts_with("GET") || seen.line.contains("dry_run=true"))
    );
}

#[test]
fn fields_are_set_by_a_merge_patch_and_late_envoys_are_exit_code_1() {
    let played = Played::new(|seen: &Seen| match seen.line.as_str() {
        "GET /settings" => Said::new(200, "{}").etag("\"e-7\""),
        _ => Said::new(
            202,
            r#"{"revision":8,"changed":true,"changes":[],"stragglers":["gateway-2"],"refused":[],"notices":[]}"#,
        ),
    });
    let home = tempfile::tempdir().unwrap();
    let server = played.url();
    let arguments = [
        "settings",
        "set",
        "breaker.probes=5",
        "default_ttl=15m",
        "--wait",
        "--timeout",
        "90s",
        "--server",
        &server,
    ];
    let ended = Program::new(home.path(), &arguments).run().code(1);
    assert!(ended.out.contains("Not yet on: gateway-2"), "{}", ended.out);
    let written = played.seen().last().unwrap().clone();
    assert_eq!(written.line, "PATCH /settings?wait=all&timeout=1m30s");
    assert_eq!(written.body, r#"{"breaker":{"probes":5},"default_ttl":"15m"}"#);
    assert_eq!(written.if_match, "\"e-7\"");
}
