//! One page: what the origin makes of it, and what it was asked.

use e2e::client::{Connection, Request, Response};
use e2e::origin::{Received, Reply};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Lifetimes: refreshed behind a stale answer, before its end, and by the next client.
pub(super) const LIVES: [(&str, &str); 3] = [
    ("window", "max-age=1, stale-while-revalidate=60"),
    ("early", "max-age=3"),
    ("demand", "max-age=1, must-revalidate"),
];

/// A page on a route.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) port: u16,
    /// The last path segment, by which the origin knows the page whatever becomes of the rest.
    pub(super) token: String,
    path: String,
    gzip: bool,
}

impl Page {
    /// `changes`: the content is another one from the second request on. `settled` pages have that content from the start.
    pub(super) fn new(port: u16, segment: &str, life: &str, changes: bool, settled: bool, number: usize) -> Self {
        let kind = if changes { "changes" } else { "same" };
        let token = format!(
            "{life}-{kind}-{}-{number:04}",
            if settled { "settled" } else { "renewed" }
        );
        Self {
            name: format!("{segment}, {life}, {kind}, port {port}"),
            port,
            path: format!("/{segment}/deep/{token}"),
            token,
            gzip: number % 2 == 1,
        }
    }

    pub(super) fn ask(&self) -> e2e::Result<Response> {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.port).into();
        let request = Request::get(&format!("{}?q=1", self.path))
            .header("host", "API.example:8080")
            .header("user-agent", "an oracle")
            .header("accept", "text/html, */*;q=0.1")
            .header("accept-encoding", if self.gzip { "gzip" } else { "identity" })
            .header("accept-language", "de")
            .header("x-host", "chosen.example")
            .header("x-list", "one")
            .header("x-list", "two")
            .header("x-removed-by-host", "1")
            .header("x-removed-by-filter", "1")
            .header("x-forwarded-for", "10.1.2.3")
            .header("origin", "https://app.example")
            .header("x-empty", "");
        Connection::open(address)?.exchange(&request)
    }
}

/// The origin's memory: requests by page.
#[derive(Default)]
pub(super) struct Asked(Mutex<BTreeMap<String, Vec<Received>>>);

impl Asked {
    pub(super) fn of(&self, page: &Page) -> Vec<Received> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&page.token).cloned().unwrap_or_default()
    }

    pub(super) fn answer(&self, request: &Received) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let token = path.rsplit('/').next().unwrap_or_default().to_owned();
        let times = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let requests = all.entry(token.clone()).or_default();
            requests.push(request.clone());
            requests.len()
        };
        let old = token.contains("-changes-renewed-") && times == 1;
        let version = if old { "old" } else { "new" };
        let tag = format!("\"{version}\"");
        let life = LIVES
            .iter()
            .find(|(life, _)| token.starts_with(life))
            .map_or("no-store", |(_, control)| control);
        let reply = if request.header("if-none-match") == Some(tag.as_str()) {
            Reply::new(304)
        } else {
            Reply::ok(format!(
                "{version} content of {}, long enough for any compressor",
                request.path
            ))
        };
        // A fetch that takes its time is renewed before the end.
        let slow = if token.starts_with("early") {
            Duration::from_millis(250)
        } else {
            Duration::ZERO
        };
        reply
            .after(slow)
            .header("etag", tag)
            .header("cache-control", life)
            .header("content-type", "text/plain")
            .header("x-origin-only", "1")
            .header("x-version", version)
    }
}
