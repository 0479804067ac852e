//! The command: files, exit codes, forms of the report.

use std::process::{Command, Output};

fn run(arguments: &[&str], files: &[(&str, &str)]) -> Output {
    let folder = std::env::temp_dir().join(format!(
        "optimizer-migrate-{}-{}",
        std::process::id(),
        arguments.join("_").replace('/', "-")
    ));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let command = Command::new(env!("CARGO_BIN_EXE_optimizer-migrate"))
        .args(arguments)
        .current_dir(&folder)
        .output();
    std::fs::remove_dir_all(&folder).unwrap();
    command.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SITE: &str = "server { location / { proxy_pass http://192.0.2.1; } }";

#[test]
fn settings_go_to_the_output_and_the_report_beside() {
    let output = run(
        &["nginx.conf"],
        &[("nginx.conf", "http { include *.site; }"), ("a.site", SITE)],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["upstreams"][0]["endpoints"][0]["address"], "192.0.2.1:80");
    assert!(
        text(&output.stderr).contains("a.site:1:10: location /"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_report_is_json_when_it_is_asked_for() {
    let output = run(&["--format", "json", "nginx.conf"], &[("nginx.conf", SITE)]);
    let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(
        report["entries"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["code"] == "upstream")
    );
}

#[test]
fn exit_codes_say_what_failed() {
    let syntax = run(&["b.conf"], &[("b.conf", "http {\n  server }\n")]);
    assert_eq!(syntax.status.code(), Some(2));
    assert_eq!(
        text(&syntax.stderr),
        "error: b.conf:2:10: unexpected \"}\"; expected \";\" or \"{\"\n"
    );
    assert_eq!(run(&["no.conf"], &[]).status.code(), Some(1));
    assert_eq!(
        run(&["i.conf"], &[("i.conf", "include x.conf;")]).status.code(),
        Some(2)
    );
}
