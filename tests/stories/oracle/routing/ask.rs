//! One random request, and how it is sent.

use super::echo::{KINDS, LIVES};
use super::world::HOSTS;
use crate::oracle::h2_client::H2Request;
use crate::oracle::random::Random;
use e2e::client::Request;
use std::fmt::Write;

/// Stands for the page's number in a path.
const PAGE: &str = "@";

/// What requests are about: close enough to each other to meet in a cache.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    listener: usize,
    host: &'static str,
    path: String,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) listener: usize,
    /// The scheme that an HTTP/2 client claims; `None` = HTTP/1.1.
    pub(super) scheme: Option<&'static str>,
    method: &'static str,
    host: String,
    path: String,
    fields: Vec<(String, String)>,
    body: &'static str,
}

impl Topic {
    pub(super) fn random(random: &mut Random) -> Self {
        let status = random.pick(&["", "", "", "", "missing/", "moved/"]);
        let kind = random.pick(&KINDS);
        let life = random.pick(&LIVES);
        let prefix = random.pick(&[
            "", "", "rw/", "rw/", "re/", "lit/", "add/", "direct/", "go/", "private/",
        ]);
        // What a rule by path makes safe to store is at that path only.
        let path = match (prefix, kind) {
            ("private/", _) => format!("/private/silent/{PAGE}"),
            (_, "plans" | "tenants" | "include" | "exclude") => format!("/{kind}/{life}/{status}{PAGE}"),
            _ => format!("/{prefix}{kind}/{life}/{status}{PAGE}"),
        };
        Self {
            listener: usize::from(random.percent(25)),
            host: random.pick(&HOSTS),
            path,
        }
    }
}

impl Ask {
    /// Every other one is the plain request of its topic, so that there is something to meet in the cache.
    pub(super) fn random(random: &mut Random, topic: &Topic) -> Self {
        if random.percent(50) {
            return Self {
                listener: topic.listener,
                scheme: None,
                method: "GET",
                host: topic.host.to_owned(),
                path: topic.path.clone(),
                fields: Vec::new(),
                body: "",
            };
        }
        let listener = if random.percent(10) {
            1 - topic.listener
        } else {
            topic.listener
        };
        let scheme = random.percent(25).then(|| random.pick(&["http", "http", "https"]));
        let method = random.pick(&[
            "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "OPTIONS", "POST", "PURGE",
        ]);
        let body = match method {
            "POST" => "posted",
            "GET" if random.percent(6) => random.pick(&["shoes", "hats"]),
            _ => "",
        };
        let method = if method == "POST" && !random.percent(20) {
            "GET"
        } else {
            method
        };
        let body = if method == "GET" && body == "posted" { "" } else { body };
        Self {
            listener,
            scheme,
            method,
            host: host(random, topic.host),
            path: path(random, &topic.path) + query(random, &topic.path),
            fields: fields(random, scheme.is_some()),
            body,
        }
    }

    fn path(&self, page: usize) -> String {
        self.path.replace(PAGE, &format!("p{page}"))
    }

    pub(super) fn as_h1(&self, page: usize) -> Request {
        let start = Request::new(self.method, &self.path(page)).header("host", &self.host);
        let request = self
            .fields
            .iter()
            .fold(start, |request, (name, value)| request.header(name, value));
        request.body(self.body)
    }

    /// Sends it over HTTP/2 by `send`.
    pub(super) fn with_h2<T>(&self, page: usize, scheme: &str, send: impl FnOnce(&H2Request<'_>) -> T) -> T {
        send(&H2Request {
            method: self.method,
            scheme,
            authority: &self.host,
            path: &self.path(page),
            fields: &self.fields,
            body: self.body,
        })
    }

    /// As a command; curl cannot claim a scheme.
    pub(super) fn curl(&self, page: usize, address: &str) -> String {
        let mut line = "curl -is --path-as-is".to_owned();
        match self.scheme {
            Some("https") => line.push_str(" --http2-prior-knowledge (and :scheme https)"),
            Some(_) => line.push_str(" --http2-prior-knowledge"),
            None => {}
        }
        if self.method != "GET" {
            line.push_str(if self.method == "HEAD" { " -I" } else { " -X " });
            line.push_str(if self.method == "HEAD" { "" } else { self.method });
        }
        let _ = write!(line, " -H 'Host: {}'", self.host);
        for (name, value) in &self.fields {
            let _ = write!(line, " -H '{name}: {value}'");
        }
        if !self.body.is_empty() {
            let _ = write!(line, " -X {} -d {}", self.method, self.body);
        }
        let _ = write!(line, " 'http://{address}{}'", self.path(page));
        line
    }
}

fn host(random: &mut Random, host: &str) -> String {
    if random.percent(65) {
        return host.to_owned();
    }
    match random.below(9) {
        0 => host.to_ascii_uppercase(),
        1 => host.replacen(host.get(..1).unwrap_or_default(), &host[..1].to_ascii_uppercase(), 1),
        2 => format!("{host}."),
        3 => format!("{host}:80"),
        4 => format!("{host}:443"),
        5 => format!("{host}.:80"),
        6 => format!("evil@{host}"),
        7 => format!("{host}:8080"),
        _ => (random.pick(&["nobody.example", "x.blog.example", "shop.example.evil.example"])).to_owned(),
    }
}

fn path(random: &mut Random, path: &str) -> String {
    if random.percent(70) {
        return path.to_owned();
    }
    let (first, rest) = path
        .get(1..)
        .and_then(|path| path.split_once('/'))
        .unwrap_or((path, ""));
    match random.below(13) {
        0 => format!("/{path}"),
        1 => format!("/{first}//{rest}"),
        2 => format!("/.{path}"),
        3 => format!("/x/..{path}"),
        4 => format!("/{first}/x/../{rest}"),
        5 => format!("/x/..%2f{first}/{rest}"),
        6 => format!("/{first}%2F{rest}"),
        7 => format!("/{first}%2f{rest}"),
        8 => path.replace(PAGE, &format!("{PAGE}%c3%a9")),
        9 => path.replace(PAGE, &format!("{PAGE}%C3%A9")),
        10 => format!("{path};v=1"),
        11 => format!("/%{:02x}{}", path.as_bytes()[1], &path[2..]),
        _ => format!("{path}/"),
    }
}

fn query(random: &mut Random, path: &str) -> &'static str {
    let keyed = path.starts_with("/include/") || path.starts_with("/exclude/");
    if random.percent(if keyed { 15 } else { 65 }) {
        return "";
    }
    random.pick(&[
        "?",
        "?id=1",
        "?id=2",
        "?utm_source=x",
        "?id=1&utm_source=y",
        "?utm_source=z&id=1",
        "?%69d=2",
        "?x=1;id=2",
        "?id=1&id=2",
        "?id=%31",
        "?ID=3",
        "?b=2&a=1",
        "?a=1&b=2",
        "?debug=1",
        "?utm%5fsource=q&a=1",
        "?id",
    ])
}

fn fields(random: &mut Random, h2: bool) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut add = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    for (chance, name, values) in [
        (15, "x-canary", &["1", "2", "0"][..]),
        (25, "x-tenant", &["gold", "silver", "gold,,silver", "gold, silver"]),
        (
            40,
            "accept-encoding",
            &["gzip", "br", "gzip, br", "identity", "br,gzip", "deflate"],
        ),
        (30, "user-agent", &["one/1 (a, b)", "one/1 (a,,b)", "two"]),
        (8, "authorization", &["Bearer alice", "Bearer bob"]),
        (20, "origin", &["https://a.example", "https://b.example"]),
        (10, "x-forwarded-proto", &["https", "http"]),
        (4, "cache-control", &["no-cache", "max-age=0"]),
        (2, "x-http-method-override", &["DELETE"]),
    ] {
        if random.percent(chance) {
            add(name, random.pick(values));
        }
    }
    if random.percent(35) {
        let cookies = [
            "plan=gold",
            "plan=silver",
            "plan =gold",
            "sid=1; plan=gold",
            "plan=gold;sid=2",
            "PLAN=gold",
            "plan=gold; plan=silver",
            "plan=\"gold\"",
            "sid=1",
            "sid=1,,2",
            "sid=1,2",
            "beta=1",
            "x; plan=silver",
            "plan=",
        ];
        add("cookie", random.pick(&cookies));
        if random.percent(15) {
            add("cookie", random.pick(&cookies));
        }
    }
    if h2 && random.percent(3) {
        add("te", "trailers");
    }
    fields
}
