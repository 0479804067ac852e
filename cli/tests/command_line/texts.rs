//! What needs no control plane: completions, the manual, access logs, help.

use crate::program::Program;
use std::io::Read;
use std::process::{Command, Stdio};

fn run(arguments: &[&str]) -> crate::program::Ended {
    Program::new(tempfile::tempdir().unwrap().path(), arguments).run()
}

#[test]
fn completions_and_manual_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&["completions", shell]).code(0);
        assert!(ended.out.contains("what-if"), "{shell}");
    }
    assert!(run(&["man"]).code(0).out.contains(".TH optimizer"));
    let folder = tempfile::tempdir().unwrap();
    run(&["man", "--dir", &folder.path().display().to_string()]).code(0);
    for page in ["optimizer.1", "optimizer-purge.1", "optimizer-settings-edit.1"] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_help_is_0() {
    run(&["purge"]).code(2);
    run(&["nonsense"]).code(2);
    let help = run(&["--help"]).code(0);
    assert!(help.out.contains("Exit codes:"), "{}", help.out);
    run(&["--version"]).code(0);
}

const LOG: &str = r#"{"time":"2026-11-30T18:00:00.000Z","method":"GET","authority":"api","path":"/a","status":200,"duration_ms":1,"cache_status":"api-optimizer; hit; ttl=5"}
[info] something else
{"time":"2026-11-30T18:00:01.000Z","method":"GET","authority":"api","path":"/b","status":503,"duration_ms":2,"cache_status":"api-optimizer; fwd=uri-miss; detail=breaker-open","breaker":"open"}
"#;

#[test]
fn an_access_log_is_read_with_decisions_and_reasons() {
    let home = tempfile::tempdir().unwrap();
    let ended = Program::new(home.path(), &["tail"]).run_with(LOG).code(0);
    assert!(ended.out.contains("200 hit "), "{}", ended.out);
    assert!(
        ended.out.contains("503 miss ") && ended.out.contains("breaker open"),
        "{}",
        ended.out
    );
    assert_eq!(ended.err, "1 lines were no access log in JSON.\n");
    let ended = Program::new(home.path(), &["tail", "--decision", "breaker-open", "-o", "json"])
        .run_with(LOG)
        .code(0);
    assert_eq!(ended.out.lines().count(), 1);
    let ended = Program::new(home.path(), &["tail", "--sample", "2"])
        .run_with(&LOG.repeat(4))
        .code(0);
    assert_eq!(ended.out.lines().count(), 4);
}

#[test]
fn who_stops_reading_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_optimizer"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
