//! One line of JSON per request on the terminal: what was asked, what the cache did and why. Read from Envoy's access log.

use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;

/// The log is emptied when it is longer: nobody needs it twice.
const LONGEST: u64 = 8 << 20;
/// Read at a time.
const CHUNK: u64 = 1 << 20;
/// Lines shown at a time; of more only the number is told.
const LINES: usize = 100;
/// Longest path that is shown, characters.
const PATH: usize = 200;

/// A request as it is shown, in this order.
#[derive(Debug, Serialize)]
struct Request<'e> {
    method: &'e str,
    path: String,
    status: u64,
    /// `hit` or `fwd`, as in Cache-Status (RFC 9211); null where the filter said nothing.
    cache: Option<&'static str>,
    /// Why it was forwarded, and the filter's detail.
    reason: Option<String>,
    /// State of the circuit breaker where it mattered.
    breaker: Option<&'e str>,
    duration_ms: u64,
}

/// The access log of the demo's Envoy.
pub(crate) struct Access {
    file: File,
    at: u64,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    is_coloured: bool,
}

impl Access {
    /// Empties the log and reads it from here on. `None` where it cannot be made.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .ok()?;
        Some(Self {
            file,
            at: 0,
            begun: Vec::new(),
            is_coloured: std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        })
    }

    /// What was asked since the last call, ready to be printed.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = self
            .file
            .seek(SeekFrom::Start(self.at))
            .and_then(|_| (&mut self.file).take(CHUNK).read_to_end(&mut bytes));
        let Ok(read) = read else { return Vec::new() };
        self.at += read as u64;
        if self.at > LONGEST && (read as u64) < CHUNK && self.file.set_len(0).is_ok() {
            // Envoy appends: what it writes next is at the beginning.
            self.at = 0;
        }
        self.begun.extend(bytes);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.begun.drain(..=end).collect();
        let all: Vec<&[u8]> = whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        let mut shown: Vec<String> = all.iter().take(LINES).filter_map(|line| self.shown(line)).collect();
        if let Some(more) = all.len().checked_sub(LINES).filter(|more| *more > 0) {
            shown.push(format!("{{\"more_requests\":{more}}}"));
        }
        shown
    }

    fn shown(&self, line: &[u8]) -> Option<String> {
        let entry: Value = serde_json::from_slice(line).ok()?;
        let request = request(&entry);
        let text = serde_json::to_string(&request).ok()?;
        let colour = match (request.status, request.cache) {
            _ if !self.is_coloured => return Some(text),
            (500.., _) => "31",
            (_, Some("hit")) => "32",
            _ => "2",
        };
        Some(format!("\u{1b}[{colour}m{text}\u{1b}[0m"))
    }
}

fn request(entry: &Value) -> Request<'_> {
    let text = |name: &str| entry[name].as_str();
    let (cache, reason) = text("cache_status").map_or((None, None), decision);
    Request {
        method: text("method").unwrap_or_default(),
        path: without_values(text("path").unwrap_or_default()),
        status: entry["status"].as_u64().unwrap_or_default(),
        cache,
        reason,
        breaker: text("breaker"),
        duration_ms: entry["duration_ms"].as_u64().unwrap_or_default(),
    }
}

/// The last member is the cache nearest to the client.
fn decision(status: &str) -> (Option<&'static str>, Option<String>) {
    let last = status.rsplit(", ").next().unwrap_or_default();
    let mut parameters = last.split(';').skip(1).map(str::trim);
    let is_hit = parameters.clone().any(|one| one == "hit");
    let value = |name: &str, one: &str| {
        let value = one.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_matches('"').to_owned())
    };
    let reasons: Vec<String> = parameters
        .by_ref()
        .filter_map(|one| value("fwd", one).or_else(|| value("detail", one)))
        .collect();
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    (Some(if is_hit { "hit" } else { "fwd" }), reason)
}

/// Names of a query are shown, their values not: they may be secrets.
fn without_values(path: &str) -> String {
    let shown = match path.split_once('?') {
        None => path.to_owned(),
        Some((path, query)) => {
            let names: Vec<String> = query
                .split('&')
                .map(|one| match one.split_once('=') {
                    Some((name, _)) => format!("{name}=*"),
                    // Without a name it may be a value all by itself.
                    None => "*".to_owned(),
                })
                .collect();
            format!("{path}?{}", names.join("&"))
        }
    };
    shown.chars().take(PATH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(path: &str, cache_status: &str) -> String {
        format!(
            r#"{{"method":"GET","path":"{path}","status":200,"duration_ms":3,"cache_status":"{cache_status}","breaker":null}}"#
        )
    }

    #[test]
    fn a_request_is_one_line_without_the_values_of_its_query() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut access = Access::open(&path).unwrap();
        access.is_coloured = false;
        let mut log = File::options().append(true).open(&path).unwrap();
        write!(
            log,
            "{}\n{}",
            line("/a?token=s3cret&x", "api-optimizer; hit; ttl=9"),
            &line("/b", "")[..20]
        )
        .unwrap();
        assert_eq!(
            access.lines(),
            [
                r#"{"method":"GET","path":"/a?token=*&*","status":200,"cache":"hit","reason":null,"breaker":null,"duration_ms":3}"#
            ]
        );
        assert!(access.lines().is_empty());
        writeln!(
            log,
            "{}",
            &line("/b", "api-optimizer; fwd=uri-miss; stored; detail=young")[20..]
        )
        .unwrap();
        let lines = access.lines();
        assert!(
            lines.len() == 1 && lines[0].contains(r#""cache":"fwd","reason":"uri-miss; young""#),
            "{lines:?}"
        );
        access.is_coloured = true;
        writeln!(log, "{}", line("/c", "api-optimizer; hit")).unwrap();
        assert!(access.lines()[0].starts_with("\u{1b}[32m{"));
    }

    #[test]
    fn a_flood_is_counted_and_the_log_stays_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut access = Access::open(&path).unwrap();
        access.is_coloured = false;
        let mut log = File::options().append(true).open(&path).unwrap();
        let some = format!("{}\n", line("/a", "")).repeat(150);
        log.write_all(some.as_bytes()).unwrap();
        let lines = access.lines();
        assert_eq!((lines.len(), lines[100].as_str()), (101, "{\"more_requests\":50}"));
        let much = format!("{}\n", line("/a", "")).repeat(100_000);
        log.write_all(much.as_bytes()).unwrap();
        (0..20).for_each(|_| drop(access.lines()));
        assert!(path.metadata().unwrap().len() < LONGEST);
        log.write_all(format!("{}\n", line("/last", "")).as_bytes()).unwrap();
        assert!(access.lines().iter().any(|line| line.contains("/last")));
    }
}
