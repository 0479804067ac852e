//! On what, when and with which versions it was measured.

use crate::artefacts;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Where a program is; Debian keeps servers outside of a user's PATH.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut places = path.split(':').map(|folder| Path::new(folder).join(name));
    places.find(|place| place.is_file())
}

/// Machine, date and versions: Envoy's, and those that the other programs tell when asked with the flag that each is named with.
#[must_use]
pub fn describe(programs: &[(&str, &str)]) -> Value {
    let mut versions = serde_json::Map::new();
    if let Ok(envoy) = artefacts::envoy() {
        // `…  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
        let text = output(&envoy, "--version");
        versions.insert("envoy".to_owned(), json!(text.split('/').nth_back(3).unwrap_or(&text)));
    }
    for (name, flag) in programs {
        if let Some(path) = program(name) {
            versions.insert((*name).to_owned(), json!(output(&path, flag)));
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

/// One line about it, for a picture.
#[must_use]
pub fn caption(machine: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{}, {} processors; Envoy {}; {}",
        word(&machine["processor"]),
        machine["processors"],
        word(&machine["versions"]["envoy"]),
        word(&machine["date"])
    )
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
