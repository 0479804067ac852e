//! The load generators, and what their load costs the server.

use crate::target::Target;
use e2e::{Failure, Result};
use std::path::PathBuf;
use std::process::Command;

/// Each request of wrk for a URL that nobody asked for before: the run's number comes as an argument.
const MISSES: &str = r#"local run, number, target = "0", 0, "/"
function init(arguments)
    target, run = wrk.path, arguments[1] or run
end
function request()
    number = number + 1
    return wrk.format(nil, target .. "?run=" .. run .. "&number=" .. number)
end
"#;

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One URL over 16 connections of HTTP/1.1.
    Http1,
    /// One URL over 64 connections of HTTP/1.1, for what takes its time.
    Wide,
    /// A new URL with each request, over 16 connections of HTTP/1.1.
    Misses,
    /// One URL over 4 connections of HTTP/2 with 4 streams each.
    Http2,
}

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// The server's CPU time for a request, microseconds.
    pub(crate) cpu_us: f64,
    pub(crate) requests_per_second: f64,
}

/// Makes load, on processors of its own.
pub(crate) struct Generator {
    core: String,
    script: PathBuf,
    seconds: u32,
    runs: u32,
}

impl Generator {
    /// A generator that runs for `seconds` at a time and keeps its files in `folder`.
    pub(crate) fn new(core: &str, seconds: u32, folder: &std::path::Path) -> Result<Self> {
        let script = folder.join("misses.lua");
        std::fs::write(&script, MISSES)?;
        Ok(Self {
            core: core.to_owned(),
            script,
            seconds,
            runs: 0,
        })
    }

    /// The server's CPU time for one request under `load` on `path`.
    pub(crate) fn run(&mut self, load: Load, target: &Target, path: &str) -> Result<Sample> {
        self.runs += 1;
        let url = format!("http://{}{path}", target.address);
        let mut command = self.command(load, &url);
        let before = target.cpu_ticks();
        let output = command
            .output()
            .map_err(|error| Failure::from(error).during("running the load generator"))?;
        let ticks = target.cpu_ticks().saturating_sub(before);
        let text = String::from_utf8_lossy(&output.stdout);
        let done = match load {
            Load::Http2 => h2load_requests(&text),
            _ => wrk_requests(&text),
        };
        let done = done.map_err(|failure| failure.during(path))?;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        Ok(Sample {
            cpu_us: f64::from(ticks) * 10_000.0 / f64::from(done),
            requests_per_second: f64::from(done) / f64::from(self.seconds),
        })
    }

    fn command(&self, load: Load, url: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.core]);
        if load == Load::Http2 {
            command.args(["h2load", "-t1", "-c4", "-m4", &format!("-D{}", self.seconds), url]);
            return command;
        }
        let connections = if load == Load::Wide { "-c64" } else { "-c16" };
        command.args(["wrk", "-t1", connections, &format!("-d{}s", self.seconds)]);
        if load == Load::Misses {
            command.arg("-s").arg(&self.script);
        }
        command.arg(url);
        if load == Load::Misses {
            command.args(["--", &self.runs.to_string()]);
        }
        command
    }
}

/// How many requests wrk says it made, all of them answered with success.
fn wrk_requests(text: &str) -> Result<u32> {
    let trouble = text
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    if let Some(line) = trouble {
        return Err(Failure::new(line.trim()));
    }
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<u32>().ok());
    requests
        .filter(|count| *count > 0)
        .ok_or_else(|| Failure::new(format!("wrk made no requests: {text}")))
}

/// How many requests h2load says were done: `requests: … total, … started, … done, … succeeded, 0 failed, 0 errored, 0 timeout`.
fn h2load_requests(text: &str) -> Result<u32> {
    let line = text
        .lines()
        .find(|line| line.starts_with("requests: "))
        .unwrap_or_default();
    let of = |what: &str| {
        let parts = line.split([',', ':']).map(str::trim);
        parts
            .filter_map(|part| part.strip_suffix(what)?.trim().parse::<u32>().ok())
            .next()
    };
    match (of("succeeded"), of("failed")) {
        (Some(done), Some(0)) if done > 0 => Ok(done),
        _ => Err(Failure::new(format!("h2load made no requests, or some failed: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_generators_print_is_read() {
        assert_eq!(
            wrk_requests("Running\n  1234 requests in 2.00s, 1MB read\n").unwrap(),
            1_234
        );
        assert!(wrk_requests("  1234 requests in 2.00s\n  Non-2xx or 3xx responses: 3\n").is_err());
        let line = |failed| {
            format!(
                "finished\nrequests: 90 total, 90 started, 80 done, 80 succeeded, {failed} failed, 0 errored, 0 timeout\n"
            )
        };
        assert_eq!(h2load_requests(&line(0)).unwrap(), 80);
        assert!(h2load_requests(&line(1)).is_err());
        assert!(h2load_requests("").is_err());
    }
}
