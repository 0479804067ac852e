//! Random requests, and what the origin answers.

use proptest::prelude::*;

pub(super) type Lines = Vec<(&'static str, String)>;

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) jump_ms: i64,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) request: Lines,
    pub(super) status: &'static str,
    pub(super) response: Lines,
}

const DIRECTIVES: [&str; 30] = [
    "max-age=60",
    "max-age=0",
    "max-age=1",
    "MAX-AGE=3600",
    "s-maxage=5",
    "max-age=\"10\"",
    "max-age=99999999999999999999",
    "max-age=-1",
    "max-age=a",
    "max-age",
    "no-store",
    "No-Store",
    "no-cache",
    "no-cache=\"x-a\"",
    "private",
    "private=\"set-cookie\"",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "stale-while-revalidate=30",
    "stale-if-error=600",
    "ext=\"no-store, private\"",
    "max-stale",
    "min-fresh=3",
    "only-if-cached",
    "\"",
    "=",
    "\u{fffd}\u{1}",
];

fn joined(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(DIRECTIVES.to_vec()), 1..=most).prop_map(|chosen| chosen.join(", "))
}

fn one_of(name: &'static str, values: &'static [&'static str]) -> BoxedStrategy<(&'static str, String)> {
    prop::sample::select(values)
        .prop_map(move |value| (name, value.to_owned()))
        .boxed()
}

fn response_line() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        6 => joined(3).prop_map(|value| ("cache-control", value)),
        1 => joined(2).prop_map(|value| ("cdn-cache-control", value)),
        1 => joined(2).prop_map(|value| ("surrogate-control", value)),
        3 => one_of("vary", &["x-a", "X-A, accept", "accept-language", "accept-encoding", "*", ",", "x-a,,*", "authorization"]),
        2 => one_of("etag", &["\"v1\"", "\"v2\"", "W/\"v1\"", "v1", "\"", ""]),
        1 => one_of("last-modified", &["Tue, 14 Nov 2023 22:13:00 GMT", "yesterday"]),
        1 => one_of("expires", &["Tue, 14 Nov 2023 23:13:20 GMT", "0", "Thu, 01 Jan 1970 00:00:00 GMT"]),
        1 => one_of("date", &["Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "x"]),
        1 => one_of("age", &["0", "30", "7200", "-1", "a, 5", "99999999999999999999"]),
        1 => one_of("content-language", &["de", "en", "de, en"]),
        1 => one_of("content-range", &["bytes 0-1/5", "bytes 4-9/5", "x"]),
        1 => one_of("set-cookie", &["s=1"]),
        1 => one_of("x-a", &["1", "2"]),
        1 => one_of("cache-groups", &["\"g\"", "x y"]),
        1 => one_of("location", &["/b", "http://other/", ":"]),
    ]
}

fn request_line() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        2 => joined(2).prop_map(|value| ("cache-control", value)),
        3 => one_of("x-a", &["1", "2", "1, 2", "1,2", ""]),
        2 => one_of("accept", &["text/html", "*/*"]),
        2 => one_of("accept-language", &["de", "en", "de, en", "en, de;q=0.5", "fr;q=0.1, de"]),
        1 => one_of("accept-encoding", &["gzip", "br, gzip", "GZIP"]),
        2 => one_of("authorization", &["Bearer 1", "Bearer 2"]),
        1 => one_of("if-none-match", &["\"v1\"", "*", "W/\"v2\"", "x"]),
        1 => one_of("if-modified-since", &["Tue, 14 Nov 2023 22:13:20 GMT", "x"]),
        1 => one_of("if-match", &["\"v1\""]),
        1 => one_of("range", &["bytes=0-1", "bytes=-1", "bytes=0-0, 2-3", "bytes=9-", "x"]),
        1 => one_of("if-range", &["\"v1\"", "x"]),
        1 => one_of("pragma", &["no-cache"]),
        1 => one_of("cookie", &["s=1", "s=2"]),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let jumps = vec![
        0,
        0,
        0,
        1,
        500,
        1_000,
        5_000,
        61_000,
        3_600_000,
        34_560_000_000,
        -1_000,
        -70_000,
        -86_400_000,
    ];
    let methods = vec![
        "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE", "BREW",
    ];
    let statuses = vec![
        "200", "200", "200", "200", "200", "203", "204", "206", "301", "304", "304", "404", "410", "500", "503", "299",
        "599",
    ];
    (
        prop::sample::select(jumps),
        prop::sample::select(methods),
        prop::sample::select(vec!["/a", "/a", "/b"]),
        prop::collection::vec(request_line(), 0..4),
        prop::sample::select(statuses),
        prop::collection::vec(response_line(), 0..5),
    )
        .prop_map(|(jump_ms, method, path, request, status, response)| Step {
            jump_ms,
            method,
            path,
            request,
            status,
            response,
        })
}
