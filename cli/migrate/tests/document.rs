//! `deploy/MIGRATING.md` says what the tool prints, and names every code of what differs.

use optimizer_migrate::{NoFiles, Options, migrate};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    std::fs::read_to_string(workspace().join("deploy/MIGRATING.md")).unwrap()
}

/// The text between a line and the end of its block.
fn block<'d>(document: &'d str, start: &str) -> &'d str {
    let (_, rest) = document.split_once(start).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_tour_is_what_the_tool_prints() {
    let document = document();
    let configuration = block(&document, "```nginx\n");
    let migration = migrate("nginx.conf", configuration, &NoFiles, &Options::default()).unwrap();
    let shown: Value = serde_json::from_str(block(&document, "$ cat settings.json\n")).unwrap();
    assert_eq!(migration.settings, shown);
    let report = migration.report.to_text();
    let lines: Vec<&str> = block(&document, "```text\n").lines().collect();
    assert!(lines.len() > 4);
    for line in lines {
        assert!(report.lines().any(|own| own == line), "{line}\n{report}");
    }
}

#[test]
fn every_code_of_what_differs_is_in_the_document() {
    let document = document();
    let mut seen = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split("Note::changed(").skip(1) {
                let code = part.split('"').nth(1).unwrap();
                assert!(document.contains(&format!("`{code}`")), "{code} of {}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 25, "the codes are not found any more");
}
