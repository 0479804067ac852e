//! An origin whose answer is a pure function of the request: it tells what it was asked, and says honestly on what its answer depends.

use e2e::Result;
use e2e::origin::{Origin, Received, Reply};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Lifetimes by the path segment that asks for them.
pub(super) const LIVES: [&str; 8] = [
    "long",
    "second",
    "window",
    "heuristic",
    "silent",
    "early",
    "validated",
    "shared",
];

/// What an answer depends on beside the target, by the path segment that asks for it.
pub(super) const KINDS: [&str; 11] = [
    "plain",
    "plain",
    "include",
    "exclude",
    "plans",
    "tenants",
    "vary-tenant",
    "vary-agent",
    "vary-coding",
    "vary-cookie",
    "vary-origin",
];

/// Fields that routes and virtual hosts add to requests.
const ADDED: [&str; 3] = ["x-route", "x-vhost", "x-forwarded-proto"];

/// An echoing origin with a name.
pub(super) fn start(name: &'static str) -> Result<Origin> {
    Origin::start(move |request| answer(name, request))
}

fn answer(name: &str, request: &Received) -> Reply {
    let path = decoded(&request.path);
    let (vary, told) = depends(&path, request);
    let mut echo = Map::new();
    echo.insert("origin".to_owned(), json!(name));
    let authority = request.header("host").unwrap_or_default().to_ascii_lowercase();
    echo.insert("authority".to_owned(), json!(authority));
    echo.extend(told);
    for field in ADDED {
        echo.insert(field.to_owned(), json!(joined(request, field)));
    }
    echo.insert("content".to_owned(), json!(String::from_utf8_lossy(&request.body)));
    let body = Value::Object(echo).to_string();
    let tag = format!("\"{}-{}\"", body.len(), xxhash_rust::xxh3::xxh3_64(body.as_bytes()));
    let known = request.header("if-none-match").is_some_and(|tags| tags.contains(&tag));
    let reply = match () {
        () if known => Reply::new(304),
        () if path.contains("/missing/") => Reply::new(404).body(body),
        () if path.contains("/moved/") => Reply::new(301).header("location", "/elsewhere").body(body),
        () => Reply::ok(body),
    };
    let reply = live(&path, reply.header("etag", tag)).header("x-echo-debug", name);
    let reply = reply
        .header("x-kind", "echo")
        .header("content-type", "application/json");
    match vary {
        Some(vary) => reply.header("vary", vary),
        None => reply,
    }
}

fn live(path: &str, reply: Reply) -> Reply {
    let life = LIVES.iter().find(|life| path.contains(&format!("/{life}/")));
    let control = |value: &str| reply.clone().header("cache-control", value);
    match life.copied().unwrap_or("silent") {
        "long" => control("max-age=600"),
        "second" => control("max-age=1"),
        "window" => control("max-age=1, stale-while-revalidate=60"),
        "heuristic" => reply.header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        // A fetch that takes its time is renewed before the end.
        "early" => control("max-age=4").after(Duration::from_millis(60)),
        "validated" => control("no-cache"),
        "shared" => control("public, s-maxage=60"),
        _ => reply,
    }
}

/// The `Vary` field and what the echo holds of target and request fields.
fn depends(path: &str, request: &Received) -> (Option<&'static str>, Map<String, Value>) {
    let told = |path: Value, key: &str, value: Value| {
        let members = [("path".to_owned(), path), (key.to_owned(), value)];
        Map::from_iter(members)
    };
    let whole = json!(request.path);
    let has = |segment: &str| path.contains(&format!("/{segment}/"));
    let before_query = || json!(request.path.split('?').next());
    let field = |name: &str| json!(joined(request, name));
    match () {
        () if path.starts_with("/private/") => (None, told(whole, "cookie", field("cookie"))),
        () if has("include") => {
            let ids = parameters(&request.path).into_iter().filter(|(name, _)| name == "id");
            (None, told(before_query(), "id", json!(ids.collect::<Vec<_>>())))
        }
        () if has("exclude") => {
            let mut rest = parameters(&request.path);
            rest.retain(|(name, _)| name != "utm_source");
            rest.sort_by(|one, other| one.0.cmp(&other.0));
            (None, told(before_query(), "query", json!(rest)))
        }
        () if has("plans") => (None, told(whole, "plan", json!(cookie(request, "plan")))),
        () if has("tenants") => (None, told(whole, "x-tenant", field("x-tenant"))),
        () if has("vary-tenant") => (Some("x-tenant"), told(whole, "x-tenant", field("x-tenant"))),
        () if has("vary-agent") => (Some("user-agent"), told(whole, "user-agent", field("user-agent"))),
        () if has("vary-cookie") => (Some("Cookie"), told(whole, "cookie", field("cookie"))),
        () if has("vary-origin") => (Some("Origin"), told(whole, "from", field("origin"))),
        () if has("vary-coding") => (Some("Accept-Encoding"), told(whole, "coding", json!(coding(request)))),
        () => (None, Map::from_iter([("path".to_owned(), whole)])),
    }
}

/// The values of a field, as one; cookie pairs as one list (RFC 9113 section 8.2.3).
fn joined(request: &Received, name: &str) -> Option<String> {
    let values = request.fields.iter().filter(|(given, _)| given == name);
    let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
    let separator = if name == "cookie" { "; " } else { ", " };
    (!values.is_empty()).then(|| values.join(separator))
}

/// As servers read it: the first pair of this name, blanks around both ignored.
fn cookie(request: &Received, name: &str) -> Option<String> {
    let all = joined(request, "cookie")?;
    let mut pairs = all.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(given, _)| given.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// The coding that a server with gzip and br would take.
fn coding(request: &Received) -> &'static str {
    let wished = joined(request, "accept-encoding").unwrap_or_default();
    let takes = |coding: &str| {
        let mut members = wished.split(',').map(str::trim);
        members.any(|member| member == coding)
    };
    ["br", "gzip"]
        .into_iter()
        .find(|coding| takes(coding))
        .unwrap_or("identity")
}

/// Names and values of the query, decoded, in order; `;` separates as well as `&`, as with some servers.
fn parameters(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let parts = query.split(['&', ';']).filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect()
}

/// A path as servers with loose routers see it: unescaped, slashes merged, without a query and dot segments.
fn decoded(target: &str) -> String {
    let path = unescaped(target.split('?').next().unwrap_or_default());
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
        if segment == ".." {
            kept.pop();
        } else {
            kept.push(segment);
        }
    }
    format!("/{}/", kept.join("/"))
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
