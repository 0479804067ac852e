//! On what, when and with which versions it was measured.

use crate::peers::program;
use e2e::artefacts;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// Machine, date and versions.
pub(crate) fn describe() -> Value {
    let mut versions = serde_json::Map::new();
    if let Ok(envoy) = artefacts::envoy() {
        // `…  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
        let text = output(&envoy, "--version");
        versions.insert("envoy".to_owned(), json!(text.split('/').nth_back(3).unwrap_or(&text)));
    }
    for (name, flag) in [
        ("nginx", "-v"),
        ("varnishd", "-V"),
        ("wrk", "-v"),
        ("h2load", "--version"),
    ] {
        if let Some(path) = program(name) {
            versions.insert(name.to_owned(), json!(output(&path, flag)));
        }
    }
    json!({
        "processor": value_of("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": file("/proc/sys/kernel/osrelease"),
        "load_before": file("/proc/loadavg").split(' ').next().unwrap_or_default(),
        "date": httpdate::fmt_http_date(SystemTime::now()),
        "versions": versions,
    })
}

/// The first line with a digit of what it prints when asked for its version.
fn output(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else {
        return String::new();
    };
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes);
    let line = text
        .lines()
        .find(|line| line.contains(|letter: char| letter.is_ascii_digit()));
    line.unwrap_or_default().trim().to_owned()
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn value_of(path: &str, name: &str) -> String {
    let text = file(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}
