//! Which control plane is meant, and which token it gets.

use crate::played::{Played, Said};
use crate::program::Program;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn list() -> Played {
    Played::new(|_| Said::new(200, "[]"))
}

fn token(folder: &Path, name: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, format!("{name}-0123456789abcdef\n")).unwrap();
    file.display().to_string()
}

#[test]
fn a_context_has_a_server_and_a_token_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let (production, staging) = (list(), list());
    let (of_production, of_staging) = (token(home.path(), "production"), token(home.path(), "staging"));
    let run = |arguments: &[&str]| Program::new(home.path(), arguments).run();
    run(&[
        "context",
        "add",
        "production",
        "--server",
        &production.url(),
        "--token-file",
        &of_production,
    ])
    .code(0);
    run(&[
        "context",
        "add",
        "staging",
        "--server",
        &staging.url(),
        "--token-file",
        &of_staging,
    ])
    .code(0);
    let file = home.path().join(".config/api-optimizer/config.yaml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("0123456789abcdef"));
    // The first one is the current one.
    run(&["alerts", "list"]).code(0);
    assert_eq!(production.seen()[0].token, "Bearer production-0123456789abcdef");
    run(&["alerts", "list", "--context", "staging"]).code(0);
    assert_eq!(staging.seen()[0].token, "Bearer staging-0123456789abcdef");
    run(&["context", "use", "staging"]).code(0);
    let listed = run(&["context", "list"]).code(0);
    assert!(listed.out.contains("*  staging"), "{}", listed.out);
    run(&["alerts", "list"]).code(0);
    assert_eq!(staging.seen().len(), 2);
    assert_eq!(run(&["alerts", "list", "--context", "nowhere"]).code, 2);
}

#[test]
fn another_server_does_not_get_the_context_s_token() {
    let home = tempfile::tempdir().unwrap();
    let (own, other) = (list(), list());
    let file = token(home.path(), "own");
    let run = |arguments: &[&str]| Program::new(home.path(), arguments);
    run(&["context", "add", "own", "--server", &own.url(), "--token-file", &file])
        .run()
        .code(0);
    run(&["alerts", "list", "--server", &other.url()]).run().code(0);
    assert_eq!(other.seen()[0].token, "");
}

#[test]
fn a_named_context_is_not_mixed_with_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let (own, other) = (list(), list());
    let run = |arguments: &[&str]| Program::new(home.path(), arguments);
    run(&["context", "add", "own", "--server", &own.url()]).run().code(0);
    let ended = run(&["alerts", "list", "--context", "own"])
        .env("API_OPTIMIZER_URL", &other.url())
        .env("API_OPTIMIZER_TOKEN", "others-0123456789abcdef");
    ended.run().code(0);
    assert_eq!(own.seen()[0].token, "");
    assert!(other.seen().is_empty());
}

#[test]
fn wrong_files_are_told_before_anything_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let played = list();
    let empty = home.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.display().to_string();
    for arguments in [
        &["--token-file", "/nowhere"][..],
        &["--token-file", &empty],
        &["--ca-file", &empty],
        &["--client-cert-file", &empty],
        &["--client-cert-file", &empty, "--client-key-file", &empty],
        &["--server", "localhost:8080"],
    ] {
        let all = [&["alerts", "list"], arguments].concat();
        let ended = Program::new(home.path(), &all)
            .env("API_OPTIMIZER_URL", &played.url())
            .run()
            .code(2);
        assert!(ended.err.starts_with("error: "), "{}", ended.err);
    }
    assert!(played.seen().is_empty());
}
