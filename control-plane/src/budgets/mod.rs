//! The table of budgets in SECURITY.md is made of the constants and settings that hold them: this test fails when one of both changes alone.

mod arriving;
mod stored;

use crate::app::Config;
use clap::Parser as _;
use std::time::Duration;

fn bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

const GUARDED: &str = "tests/stories/guarded.rs";

/// What, the bound, where it stands, and the test that holds it: file and function.
type Row = (&'static str, String, &'static str, &'static str, &'static str);

const BEGIN: &str = "<!-- made of the code: cargo test -p api-optimizer-control-plane budgets -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_table_of_budgets_says_what_the_code_does() {
    let set = Config::try_parse_from(["control-plane"]).unwrap();
    let mut table = String::from("| what | bound | where | held by |\n|---|---|---|---|\n");
    for (what, bound, place, file, test) in [arriving::rows(&set), stored::rows(&set)].concat() {
        let name = file.rsplit('/').next().unwrap();
        table.push_str(&format!("| {what} | {bound} | {place} | [{name}]({file}) `{test}` |\n"));
    }
    let text = include_str!("../../../SECURITY.md");
    let written = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let written = written.expect("a table between its marks").0;
    assert_eq!(written, table, "SECURITY.md should say:\n{table}");
}
