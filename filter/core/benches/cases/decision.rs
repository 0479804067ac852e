//! What one hit costs in our own code: from the header map of a request with 15 fields to the header map of the answer.

use filter_core::cache::{
    CacheKey, Encoder, Exchange, Framing, FreshnessPolicy, KeyPolicy, KeySecret, Routing, StoredView, selecting,
    storability,
};
use filter_core::driver::host::header_map::{MapWriter, parse};
use filter_core::engine::{CacheRequest, Decision, decide};
use filter_core::http::fields::Fields;
use filter_core::http::method::Method;
use std::hint::black_box;

const NOW: u64 = 1_800_000_000_000;

const REQUEST: [(&str, &str); 15] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "api.example.com"),
    (":path", "/v1/products/1234567?fields=name,price&currency=eur"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    ("accept", "application/json, text/plain;q=0.9, */*;q=0.5"),
    ("accept-language", "en-GB,en;q=0.8,de;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example.com/products"),
    ("cookie", "session=0123456789abcdef; theme=dark; consent=1"),
    ("x-request-id", "3f0c2a9e-6f5b-4a5e-9d2b-6f1f1b9e6c11"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("if-none-match", "\"another\""),
    ("sec-fetch-mode", "cors"),
];

const RESPONSE: [(&str, &str); 10] = [
    (":status", "200"),
    ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=300, stale-while-revalidate=30"),
    ("etag", "\"5d8c72a5edda8\""),
    ("vary", "accept-encoding"),
    ("server", "origin/1.2"),
    ("x-content-type-options", "nosniff"),
    ("strict-transport-security", "max-age=31536000"),
    ("content-length", "1000"),
];

fn lines<'a>(pairs: &[(&'a str, &'a str)]) -> Fields<'a> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect()
}

fn stored(key: &CacheKey, request: &Fields<'_>) -> Vec<u8> {
    let response = lines(&RESPONSE);
    let exchange = Exchange {
        method: Method::Get,
        request,
        status: 200,
        response: &response,
        request_time_ms: NOW - 1_050,
        response_time_ms: NOW - 1_000,
        framing: Framing::Length(1_000),
        identity_in_key: false,
        stated_freshness_only: false,
        hidden_credentials: false,
    };
    let plan = storability::judge(&exchange, &FreshnessPolicy::default(), 0).expect("storable");
    let mut encoder = Encoder::begin(key.as_bytes(), &exchange, &plan, 1_000, 32).expect("a small head");
    encoder.append(&[b'x'; 1_000]);
    encoder.seal().expect("a whole body")
}

fn routing<'a>(cache_request: &CacheRequest<'a>) -> Routing<'a> {
    Routing {
        cluster: b"origin",
        route: b"",
        authority: cache_request.target.authority,
        claimed_scheme: cache_request.claimed_scheme,
        head: None,
        content: None,
    }
}

fn hit(map: &[u8], stored: &[u8], policy: &FreshnessPolicy, key_policy: &KeyPolicy) -> Option<Vec<u8>> {
    let cache_request = CacheRequest::read(Fields::from(parse(map)))?;
    let key = CacheKey::of_routed(
        key_policy,
        &cache_request.target,
        &cache_request.fields,
        &KeySecret::unset(),
        &routing(&cache_request),
    );
    let directives = cache_request.directives(policy);
    let view = StoredView::decode(stored, true).ok()?;
    if view.key() != key.as_bytes() || !selecting::matches(&view, &cache_request.fields) {
        return None;
    }
    let Decision::Reply { reply, .. } = decide(&view, &cache_request, &directives, false, 7, NOW) else {
        return None;
    };
    let mut writer = MapWriter::with_capacity(24, 768);
    reply.for_each_field(&view, &mut |name, value| writer.push(name, value));
    Some(writer.finish())
}

/// One hit, again and again.
pub(crate) fn hits() -> impl FnMut() {
    let mut map = MapWriter::default();
    REQUEST
        .iter()
        .for_each(|(name, value)| map.push(name.as_bytes(), value.as_bytes()));
    let map = map.finish();
    let (policy, key_policy) = (FreshnessPolicy::default(), KeyPolicy::default());
    let cache_request = CacheRequest::read(lines(&REQUEST)).expect("a request");
    let key = CacheKey::new(
        &key_policy,
        &cache_request.target,
        &cache_request.fields,
        &KeySecret::unset(),
    )
    .routed(&routing(&cache_request));
    let stored = stored(&key, &cache_request.fields);
    assert!(hit(&map, &stored, &policy, &key_policy).is_some(), "it is a hit");
    move || {
        drop(black_box(hit(
            black_box(&map),
            black_box(&stored),
            &policy,
            &key_policy,
        )))
    }
}
