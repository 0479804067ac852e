//! Malformed and hostile bytes from either side: forwarded, or refused by Envoy; the filter never falls over.

use e2e::client::{Connection, Request};
use e2e::origin::{Framing, Origin, Reply};
use e2e::stack::{Plan, Stack};

/// Every VM that was started still is the same one: a trap would have made another.
fn assert_no_trap(stack: &mut Stack) {
    let log = stack.envoy.process().output();
    for word in [
        "panicked",
        "unreachable",
        "Plugin VM failed",
        "Function: proxy_on",
        "in-VM backtrace",
    ] {
        assert!(!log.contains(word), "{log}");
    }
    for (name, value) in stack.envoy.stats("wasm") {
        assert!(
            !(name.contains("vm_reload") || name.contains("failed")) || value == 0,
            "{name} {value}"
        );
    }
}

#[test]
fn requests_that_no_client_should_send() {
    let origin = Origin::start(|_| Reply::ok("x").max_age(60)).unwrap();
    let mut stack = Stack::start(&Plan::default(), origin).unwrap();
    let large = "a".repeat(100_000);
    let huge = "a".repeat(300_000);
    let lines: Vec<Vec<u8>> = vec![
        b"x-latin: caf\xe9\r\ncookie: \xff\xfe\r\nauthorization: \x80".to_vec(),
        b"cache-control: max-age=caf\xe9, no-cache=\"\xff".to_vec(),
        format!("x-large: {large}").into_bytes(),
        format!("if-none-match: \"{large}\"").into_bytes(),
        format!("x-huge: {huge}").into_bytes(),
        b"host: other.example".to_vec(),
        b"x-split: a\rb".to_vec(),
        b"x-null: a\0b".to_vec(),
        b": empty".to_vec(),
        b"x bad: 1".to_vec(),
        b"range: bytes=0-0,-1,18446744073709551616-".to_vec(),
        b"if-modified-since: Thu, 99 Foo 99999 99:99:99 GMT".to_vec(),
        b"cache-control: max-age=99999999999999999999, max-stale, min-fresh=-1, ====,,,".to_vec(),
        b"content-length: 5\r\ncontent-length: 6".to_vec(),
        b"transfer-encoding: chunked\r\ncontent-length: 3".to_vec(),
        (0..150)
            .map(|n| format!("x-{n}: {n}"))
            .collect::<Vec<_>>()
            .join("\r\n")
            .into_bytes(),
    ];
    for line in lines {
        for target in ["/", "/caf\u{e9}?q=%ff", "http://api.example/absolute", "/%00"] {
            let mut request = format!("GET {target} HTTP/1.1\r\nhost: api.example\r\n").into_bytes();
            request.extend_from_slice(&line);
            request.extend_from_slice(b"\r\n\r\n");
            let mut connection = Connection::open(stack.envoy.address()).unwrap();
            // Envoy may close while it is still being written to.
            let answer = connection.send(&request).and_then(|()| connection.response("GET"));
            if let Ok(answer) = answer {
                let shown = String::from_utf8_lossy(&line).chars().take(60).collect::<String>();
                assert!(
                    [200, 206, 304, 400, 416, 431].contains(&answer.status),
                    "{shown}: {}",
                    answer.status
                );
            }
        }
    }
    assert_no_trap(&mut stack);
    assert_eq!(stack.envoy.get("/after").unwrap().status, 200);
}

#[test]
fn bytes_that_are_no_http_at_all() {
    let origin = Origin::start(|_| Reply::ok("x").max_age(60)).unwrap();
    let mut stack = Stack::start(&Plan::default(), origin).unwrap();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\0\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxx",
    ] {
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        connection.send(bytes).unwrap();
    }
    for path in ["/a", "/a"] {
        assert_eq!(stack.envoy.get(path).unwrap().status, 200);
    }
    assert_no_trap(&mut stack);
}

#[test]
fn responses_that_no_origin_should_send() {
    let origin = Origin::start(|request| {
        let large = "a".repeat(50_000);
        let reply = Reply::ok("content");
        match request.path.as_str() {
            "/latin" => reply
                .max_age(60)
                .header("x-name", b"caf\xe9")
                .header("vary", b"x-\xff")
                .header("etag", b"\"\xfe\""),
            "/large" => reply.max_age(60).header("x-large", large),
            "/control" => reply.header("cache-control", b"max-age=60, private=\"\xff, s-maxage=\x80"),
            "/overflow" => reply
                .header("cache-control", "max-age=99999999999999999999")
                .header("age", "-1"),
            "/dates" => reply
                .header("expires", "0")
                .header("last-modified", "yesterday")
                .header("date", "now"),
            "/vary" => reply
                .max_age(60)
                .header("vary", (0..500).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",")),
            "/many" => (0..90).fold(reply.max_age(60), |reply, n| reply.header(&format!("x-{n}"), "1")),
            "/cdn" => reply.header("cdn-cache-control", b"max-age=\"\xff\", ;;;=("),
            "/status" => Reply::new(999).max_age(60).body("odd"),
            "/304" => Reply::new(304).max_age(60),
            "/206" => Reply::new(206)
                .max_age(60)
                .header("content-range", "bytes 9-1/0")
                .body("x"),
            _ => Reply::ok("HTTP/9.9 what\r\n\0\0\r\n\r\n").framing(Framing::Raw),
        }
    })
    .unwrap();
    let mut stack = Stack::start(&Plan::default(), origin).unwrap();
    for path in [
        "/latin",
        "/large",
        "/control",
        "/overflow",
        "/dates",
        "/vary",
        "/many",
        "/cdn",
        "/status",
        "/304",
        "/206",
        "/raw",
    ] {
        // Twice: what was stored must be servable.
        let first = stack.envoy.get(path).map(|answer| (answer.status, answer.body));
        let second = stack
            .envoy
            .fetch(&Request::get(path))
            .map(|answer| (answer.status, answer.body));
        assert_eq!(first.is_ok(), second.is_ok(), "{path}: {first:?} {second:?}");
        if let (Ok(first), Ok(second)) = (first, second) {
            assert_eq!(first, second, "{path}");
        }
    }
    assert_no_trap(&mut stack);
}
