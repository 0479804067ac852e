//! Requests with the cache's decision, from Envoy's access log.
//!
//! The control plane knows figures, not requests. What knows them is the access log of the bootstraps in `envoy/`: one JSON line for each
//! request, with the `Cache-Status` that the filter gave (RFC 9211).

use crate::failure::{Failure, Outcome};
use crate::output::{Output, Paint, clean, is_coloured, text_of};
use clap::Args;
use serde_json::Value;
use sfv::{BareItem, ListEntry, Parser};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks at a log that has come to its end.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest line that is read, bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// Which log, and which of its lines.
///
/// The control plane does not see single requests: this reads the JSON access log that envoy/static.yaml, native.yaml and dynamic.yaml
/// write to ACCESS_LOG, or `kubectl logs -f POD -c envoy` from standard input. Lines that are no such JSON are left out and counted.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The log; standard input when absent or -
    file: Option<PathBuf>,
    /// Go on when the end of the file is reached
    #[arg(long, short)]
    follow: bool,
    /// Only this decision: hit, miss, stale, bypass, or a word of the reason, such as uri-miss or breaker-open
    #[arg(long, value_name = "DECISION")]
    decision: Option<String>,
    /// Only this status, or a class of them, such as 5xx
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<String>,
    /// Only paths that begin so
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,
    /// Only hosts that are this one
    #[arg(long)]
    host: Option<String>,
    /// Only every n-th of what is left
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
}

fn status(text: &str) -> Result<String, String> {
    let text = text.to_lowercase();
    let class = text.len() == 3 && text.starts_with(|c: char| c.is_ascii_digit());
    let rest = text.get(1..).unwrap_or_default();
    if class && (rest == "xx" || rest.bytes().all(|byte| byte.is_ascii_digit())) {
        Ok(text)
    } else {
        Err("write 200 or 5xx".to_owned())
    }
}

/// Reads the log to its end, or on and on.
///
/// # Errors
/// The file cannot be read, or standard output cannot be written.
pub fn run(arguments: &Arguments, output: Output) -> Result<Outcome, Failure> {
    let path = arguments
        .file
        .as_deref()
        .filter(|path| *path != std::path::Path::new("-"));
    let mut lines = match path {
        Some(path) => Lines::of_file(path, arguments.follow)?,
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::usage(
                "Name the access log of an Envoy, or pipe it in: see optimizer tail --help",
            ));
        }
        None => Lines::of(Box::new(BufReader::new(std::io::stdin()))),
    };
    let paint = Paint::new(is_coloured());
    let (mut matched, mut skipped) = (0_u64, 0_u64);
    while let Some(line) = lines.next_line()? {
        let Some(request) = Request::of(&line) else {
            skipped += u64::from(!line.trim().is_empty());
            continue;
        };
        if !request.matches(arguments) {
            continue;
        }
        if matched.is_multiple_of(u64::from(arguments.sample)) {
            if output.is_for_people() {
                output.say(&request.line(paint))?;
            } else {
                output.say(request.entry.to_string().as_str())?;
            }
        }
        matched += 1;
    }
    if skipped > 0 {
        crate::output::note(&format!("{skipped} lines were no access log in JSON."));
    }
    Ok(Outcome::Yes)
}

/// Lines of a bounded length, from a file that may grow or be replaced.
struct Lines {
    from: Box<dyn BufRead + Send>,
    follow: Option<PathBuf>,
    read: u64,
}

impl Lines {
    fn of(from: Box<dyn BufRead + Send>) -> Self {
        Self {
            from,
            follow: None,
            read: 0,
        }
    }

    fn of_file(path: &std::path::Path, follow: bool) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
        Ok(Self {
            from: Box::new(BufReader::new(file)),
            follow: follow.then(|| path.to_owned()),
            read: 0,
        })
    }

    /// The next whole line; a last one without its end only where nothing follows.
    fn next_line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        loop {
            let limit = LONGEST_LINE.saturating_sub(line.len().try_into().unwrap_or(u64::MAX));
            let read = self.from.by_ref().take(limit).read_until(b'\n', &mut line);
            let read = read.map_err(|error| Failure::usage(format!("The log cannot be read: {error}")))?;
            self.read += u64::try_from(read).unwrap_or_default();
            let is_whole = line.ends_with(b"\n") || u64::try_from(line.len()).unwrap_or(u64::MAX) >= LONGEST_LINE;
            if is_whole || (self.follow.is_none() && !line.is_empty()) {
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.follow.is_none() {
                return Ok(None);
            }
            if read == 0 {
                std::thread::sleep(PAUSE);
                self.reopen_if_shorter()?;
            }
        }
    }

    /// A log that was rotated begins anew.
    fn reopen_if_shorter(&mut self) -> Result<(), Failure> {
        let Some(path) = &self.follow else {
            return Ok(());
        };
        let Ok(mut file) = File::open(path) else {
            // Between two files: it comes back.
            return Ok(());
        };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length < self.read {
            file.seek(SeekFrom::Start(0))
                .map_err(|error| Failure::file(path, &error))?;
            self.from = Box::new(BufReader::new(file));
            self.read = 0;
        }
        Ok(())
    }
}

/// One line of the log.
struct Request {
    entry: Value,
    decision: &'static str,
    /// What stands behind the decision: `uri-miss stored`, `ttl=53`.
    reason: String,
}

impl Request {
    fn of(line: &str) -> Option<Self> {
        let entry: Value = serde_json::from_str(line).ok()?;
        entry.get("status")?;
        let (decision, reason) = decision(entry["cache_status"].as_str().unwrap_or_default());
        Some(Self {
            entry,
            decision,
            reason,
        })
    }

    fn matches(&self, wanted: &Arguments) -> bool {
        let text = |field: &str| self.entry[field].as_str().unwrap_or_default();
        let status = text_of(&self.entry["status"]);
        let decision = wanted.decision.as_deref().is_none_or(|word| {
            let mut words = self.reason.split([' ', '=']);
            self.decision == word || words.any(|own| own == word)
        });
        decision
            && wanted
                .status
                .as_deref()
                .is_none_or(|wanted| match wanted.strip_suffix("xx") {
                    Some(class) => status.starts_with(class),
                    None => status == wanted,
                })
            && wanted
                .path
                .as_deref()
                .is_none_or(|prefix| text("path").starts_with(prefix))
            && wanted.host.as_deref().is_none_or(|host| text("authority") == host)
    }

    fn line(&self, paint: Paint) -> String {
        let entry = |field: &str| clean(&text_of(&self.entry[field]));
        let decision = format!("{:<6}", self.decision);
        let decision = match self.decision {
            "hit" => paint.good(&decision),
            "stale" | "bypass" => paint.warning(&decision),
            _ => decision,
        };
        let status = entry("status");
        let status = if status.starts_with('5') {
            paint.bad(&status)
        } else {
            status
        };
        let mut line = format!(
            "{} {status} {decision} {:>5} ms  {} {}{}  {}",
            entry("time"),
            entry("duration_ms"),
            entry("method"),
            entry("authority"),
            entry("path"),
            paint.faint(&clean(&self.reason))
        );
        if let Some(breaker) = self.entry["breaker"].as_str().filter(|state| *state != "-") {
            line += &paint.warning(&format!("  breaker {}", clean(breaker)));
        }
        line
    }
}

/// Of a `Cache-Status` field: what was decided by the filter, and the rest of what it says.
fn decision(field: &str) -> (&'static str, String) {
    let parsed = Parser::new(field).parse::<sfv::List>();
    // The filter's own entry; another cache may have added one before it.
    let own = parsed.ok().and_then(|list| {
        list.into_iter().rev().find_map(|entry| match entry {
            ListEntry::Item(item) if name(&item.bare_item) == "api-optimizer" => Some(item.params),
            _ => None,
        })
    });
    let Some(parameters) = own else {
        return ("none", String::new());
    };
    let text = |key: &str| parameters.get(key).map(name).unwrap_or_default();
    let (hit, forwarded, detail) = (parameters.contains_key("hit"), text("fwd"), text("detail"));
    let is_stale = detail.contains("stale") || text("ttl").starts_with('-');
    let decision = match forwarded.as_str() {
        _ if hit && is_stale => "stale",
        _ if hit => "hit",
        "bypass" | "method" => "bypass",
        "stale" => "stale",
        _ => "miss",
    };
    let of = |(key, value): (&sfv::Key, &BareItem)| match value {
        BareItem::Boolean(true) => key.as_str().to_owned(),
        value if key.as_str() == "fwd" => name(value),
        value => format!("{key}={}", name(value)),
    };
    let words: Vec<_> = parameters
        .iter()
        .filter(|(key, _)| key.as_str() != "hit")
        .map(of)
        .collect();
    (decision, words.join(" "))
}

fn name(item: &BareItem) -> String {
    match item {
        BareItem::Token(token) => token.as_str().to_owned(),
        BareItem::String(text) => text.as_str().to_owned(),
        BareItem::Integer(number) => number.to_string(),
        BareItem::Boolean(value) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_decision_is_the_filter_s() {
        let cases = [
            ("api-optimizer; hit; ttl=60", "hit", "ttl=60"),
            ("api-optimizer; hit; ttl=-3", "stale", "ttl=-3"),
            ("api-optimizer; fwd=uri-miss; stored", "miss", "uri-miss stored"),
            (
                "api-optimizer; fwd=bypass; detail=guard-behind",
                "bypass",
                "bypass detail=guard-behind",
            ),
            (
                "origin-cache; hit, api-optimizer; fwd=uri-miss; detail=breaker-open",
                "miss",
                "uri-miss detail=breaker-open",
            ),
            ("other; hit", "none", ""),
            ("", "none", ""),
            ("((", "none", ""),
        ];
        for (field, decided, reason) in cases {
            assert_eq!(decision(field), (decided, reason.to_owned()), "{field}");
        }
    }

    fn wanted(decision: Option<&str>, status: Option<&str>) -> Arguments {
        Arguments {
            file: None,
            follow: false,
            decision: decision.map(str::to_owned),
            status: status.map(str::to_owned),
            path: Some("/products".to_owned()),
            host: None,
            sample: 1,
        }
    }

    #[test]
    fn lines_are_chosen_by_decision_status_and_path() {
        let line =
            r#"{"status":503,"path":"/products/1","cache_status":"api-optimizer; fwd=uri-miss; detail=breaker-open"}"#;
        let request = Request::of(line).unwrap();
        for (decision, status, expected) in [
            (None, None, true),
            (Some("miss"), Some("5xx"), true),
            (Some("breaker-open"), Some("503"), true),
            (Some("hit"), None, false),
            (None, Some("2xx"), false),
        ] {
            assert_eq!(
                request.matches(&wanted(decision, status)),
                expected,
                "{decision:?} {status:?}"
            );
        }
        assert!(Request::of("[info] no JSON").is_none());
    }

    /// The next line, if it comes within half a minute.
    fn soon(mut lines: Lines) -> String {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(lines.next_line().unwrap().unwrap()));
        receive.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    #[test]
    fn a_log_that_was_rotated_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "a long first line\n").unwrap();
        let mut lines = Lines::of_file(&path, true).unwrap();
        assert_eq!(lines.next_line().unwrap().unwrap(), "a long first line\n");
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(soon(lines), "new\n");
    }

    #[test]
    fn a_line_that_is_half_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "ha").unwrap();
        let lines = Lines::of_file(&path, true).unwrap();
        let writer = std::thread::spawn(move || {
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(b"lf\n").unwrap();
        });
        assert_eq!(soon(lines), "half\n");
        writer.join().unwrap();
    }
}
