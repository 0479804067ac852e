//! Ranges where Envoy compresses what leaves the cache: they are parts of the content as the origin sent it (RFC 9110 section 15.3.7).

use super::{plan, started};
use e2e::bootstrap::Xds;
use e2e::client::{Request, Response};
use e2e::origin::{Origin, Reply};
use e2e::stack::Stack;
use serde_json::json;

fn content() -> String {
    (0..4_000).map(|number| format!("{number:05}\n")).collect()
}

/// The profile that compresses, in front of text with a strong entity tag.
fn compressing() -> Stack {
    let origin = Origin::start(|request| {
        let reply = Reply::ok(content())
            .header("content-type", "text/plain")
            .header("etag", "\"v\"")
            .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        match request.path.as_str() {
            "/ranged" => Reply::new(206)
                .body(&content()[6_000..12_000])
                .header("content-type", "text/plain")
                .header("content-range", "bytes 6000-11999/24000")
                .header("cache-control", "no-store"),
            _ => reply.max_age(600),
        }
    });
    let profile = optimizer_proto::settings::profile("bandwidth_optimized").unwrap();
    let settings = json!({"http2": profile["http2"]});
    started(&plan(Xds::Delta, settings), origin.unwrap())
}

fn ask(stack: &Stack, request: Request) -> Response {
    stack.envoy.fetch(&request.header("accept-encoding", "gzip")).unwrap()
}

fn is_plain_part(answer: &Response, from: usize, to: usize) {
    assert_eq!(answer.status, 206, "{answer:?}");
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.header("content-range"), Some(format!("bytes {from}-{to}/24000")));
    assert_eq!(answer.text(), content()[from..=to]);
}

#[test]
fn a_range_is_never_compressed_and_the_whole_still_is() {
    let stack = compressing();
    let whole = || ask(&stack, Request::get("/text"));
    let miss = whole();
    assert_eq!(miss.header("content-encoding").as_deref(), Some("gzip"), "{miss:?}");
    let hit = whole();
    assert!(hit.is_hit() && hit.header("content-encoding").as_deref() == Some("gzip"));
    // A weak entity tag: the bytes of the compressed form are not promised, and no range is asked for by it.
    assert_eq!(hit.header("etag").as_deref(), Some("W/\"v\""));
    assert!(
        hit.header("vary")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .contains("accept-encoding")
    );

    let part = |field: &str, value: &str| {
        let request = Request::get("/text").header("range", "bytes=6000-11999");
        let request = if field.is_empty() {
            request
        } else {
            request.header(field, value)
        };
        ask(&stack, request)
    };
    let range = part("", "");
    assert!(range.is_hit(), "{}", range.cache_status());
    is_plain_part(&range, 6_000, 11_999);
    is_plain_part(&part("if-range", "\"v\""), 6_000, 11_999);
    let resumed = part("if-range", "W/\"v\"");
    assert_eq!(resumed.status, 200, "who holds compressed bytes gets the whole");
    assert_eq!(resumed.header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(stack.origin.total(), 1);
    is_plain_part(
        &ask(&stack, Request::get("/ranged").header("range", "bytes=6000-11999")),
        6_000,
        11_999,
    );
}

#[test]
fn other_answers_about_compressed_content_stay_sound() {
    let stack = compressing();
    assert_eq!(ask(&stack, Request::get("/text")).status, 200);
    for tag in ["W/\"v\"", "\"v\""] {
        let unchanged = ask(&stack, Request::get("/text").header("if-none-match", tag));
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{tag}");
        assert_eq!(unchanged.header("content-encoding"), None);
    }
    let head = ask(&stack, Request::new("HEAD", "/text"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    let beyond = ask(&stack, Request::get("/text").header("range", "bytes=24000-"));
    assert!(matches!(beyond.status, 200 | 416), "{beyond:?}");
    let many = ask(&stack, Request::get("/text").header("range", "bytes=0-5,12-17"));
    if many.status == 206 {
        assert_eq!(many.header("content-encoding"), None, "{many:?}");
        assert!(many.text().contains("00002"));
    } else {
        assert_eq!(
            (many.status, many.header("content-encoding").as_deref()),
            (200, Some("gzip"))
        );
    }
    let plain = stack.envoy.get("/text").unwrap();
    assert_eq!(
        (plain.header("etag").as_deref(), plain.text()),
        (Some("\"v\""), content())
    );
}
