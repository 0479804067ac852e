//! Who shares what is stored: cookies and credentials, errors, requests with content, origins, and validation.

use e2e::client::{Connection, Request, Response};
use e2e::origin::{Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::time::{Duration, SystemTime};

fn stack(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Stack {
    Stack::start(&Plan::default(), Origin::start(script).unwrap()).unwrap()
}

fn ask(stack: &Stack, path: &str, fields: &[(&str, &str)]) -> Response {
    let request = fields
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(name, value));
    stack.envoy.fetch(&request).unwrap()
}

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

/// Who asks, as an origin knows that tells its users apart.
fn user(request: &Received) -> String {
    ["cookie", "x-api-key", "proxy-authorization", "x-own"]
        .iter()
        .find_map(|name| request.header(name))
        .unwrap_or("nobody")
        .to_owned()
}

#[test]
fn users_with_credentials_get_their_own_where_the_origin_gives_no_freshness() {
    let stack = stack(|request| {
        let reply = Reply::ok(user(request));
        match request.path.split('?').next() {
            Some("/modified" | "/shared") => reply.header("last-modified", MODIFIED),
            Some("/tagged") => reply.header("etag", "\"v\""),
            Some("/explicit") => reply.max_age(60),
            _ => reply,
        }
    });
    let routes = json!([
        {"name": "forced", "path_prefix": "/forced", "ttl_override": "10m"},
        {"name": "shared", "path_prefix": "/shared", "share_with_credentials": true},
        {"name": "keyed", "path_prefix": "/keyed", "key_cookies": ["s"]},
    ]);
    stack
        .change_settings(&json!({"default_ttl": "15m", "credential_headers": ["x-own"], "routes": routes}))
        .unwrap();
    for path in ["/silent", "/modified", "/tagged", "/forced"] {
        for field in ["cookie", "x-api-key", "proxy-authorization", "x-own"] {
            let path = format!("{path}?{field}");
            for who in ["s=alice", "s=bob", "s=alice"] {
                let answer = ask(&stack, &path, &[(field, who)]);
                assert_eq!((answer.text().as_str(), answer.is_hit()), (who, false), "{path}");
                assert!(
                    answer.cache_status().contains("detail=credentials"),
                    "{}",
                    answer.cache_status()
                );
            }
            // Those without credentials share, and what is theirs is not for those with.
            assert_eq!(ask(&stack, &path, &[]).text(), "nobody");
            assert!(
                path.starts_with("/tagged") || ask(&stack, &path, &[]).is_hit(),
                "{path}"
            );
            let answer = ask(&stack, &path, &[(field, "s=carol")]);
            assert_eq!((answer.text().as_str(), answer.is_hit()), ("s=carol", false), "{path}");
            assert_eq!(answer.cache_status(), "fwd=request; detail=credentials", "{path}");
        }
    }
    for (path, shared) in [("/explicit", true), ("/shared", true), ("/keyed", false)] {
        let alice = ask(&stack, path, &[("cookie", "s=alice")]);
        let bob = ask(&stack, path, &[("cookie", "s=bob")]);
        assert_eq!(bob.is_hit(), shared, "{path} {}", bob.cache_status());
        assert_eq!(alice.text() == bob.text(), shared, "{path}");
        assert!(ask(&stack, path, &[("cookie", "s=alice")]).is_hit(), "{path}");
    }
}

#[test]
fn a_crowd_of_users_at_once_gets_each_its_own() {
    let stack = stack(|request| {
        Reply::ok(user(request))
            .header("last-modified", MODIFIED)
            .after(Duration::from_millis(200))
    });
    std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..12)
            .map(|number| {
                let stack = &stack;
                scope.spawn(move || {
                    let who = format!("s={number}");
                    (ask(stack, "/crowd", &[("cookie", &who)]).text(), who)
                })
            })
            .collect();
        for client in crowd {
            let (got, who) = client.join().unwrap();
            assert_eq!(got, who);
        }
    });
}

#[test]
fn a_cookie_reaches_the_client_it_is_set_for() {
    let stack = stack(|request| {
        let who = user(request);
        let fresh = Reply::ok("content")
            .header("content-type", "text/plain")
            .header("cache-control", "max-age=1")
            .header("etag", "\"v\"");
        match (request.path.as_str(), request.header("if-none-match")) {
            ("/validated", Some(_)) => Reply::new(304)
                .header("etag", "\"v\"")
                .header("cache-control", "max-age=60")
                .header("set-cookie", format!("for={who}")),
            ("/validated", None) => fresh,
            ("/public", _) => Reply::ok("content")
                .header("cache-control", "public, max-age=60")
                .header("set-cookie", format!("for={who}")),
            _ => Reply::ok("content")
                .max_age(60)
                .header("set-cookie", format!("for={who}")),
        }
    });
    let routes = json!([
        {"name": "strip", "path_prefix": "/strip", "set_cookie": "strip"},
        {"name": "share", "path_prefix": "/share", "set_cookie": "share"},
        {"name": "forced", "path_prefix": "/forced", "ttl_override": "10m"},
    ]);
    stack.change_settings(&json!({"routes": routes})).unwrap();
    for path in ["/plain", "/public", "/forced"] {
        for who in ["s=alice", "s=bob"] {
            let answer = ask(&stack, path, &[("cookie", who)]);
            assert_eq!(answer.header("set-cookie"), Some(format!("for={who}")), "{path}");
            assert_eq!(
                answer.cache_status().rsplit("detail=").next(),
                Some("set-cookie"),
                "{path}"
            );
        }
    }
    let first = ask(&stack, "/strip", &[("cookie", "s=alice")]);
    assert_eq!(first.header("set-cookie").as_deref(), Some("for=s=alice"), "it is hers");
    let second = ask(&stack, "/strip", &[("cookie", "s=bob")]);
    assert_eq!((second.is_hit(), second.header("set-cookie")), (true, None));
    ask(&stack, "/share", &[("cookie", "s=alice")]);
    let second = ask(&stack, "/share", &[("cookie", "s=bob")]);
    assert_eq!(
        (second.is_hit(), second.header("set-cookie").as_deref()),
        (true, Some("for=s=alice"))
    );
    // What is stored with a cookie loses it when the route no longer shares it.
    let routes = json!([{"name": "share", "path_prefix": "/share"}]);
    stack.change_settings(&json!({"routes": routes})).unwrap();
    let third = ask(&stack, "/share", &[("cookie", "s=carol")]);
    assert_eq!((third.is_hit(), third.header("set-cookie")), (true, None));

    ask(&stack, "/validated", &[]);
    std::thread::sleep(Duration::from_millis(1_300));
    let bob = ask(&stack, "/validated", &[("cookie", "s=bob")]);
    assert_eq!((bob.status, bob.text().as_str()), (200, "content"));
    assert_eq!(
        bob.header("set-cookie").as_deref(),
        Some("for=s=bob"),
        "{}",
        bob.cache_status()
    );
    let carol = ask(&stack, "/validated", &[("cookie", "s=carol")]);
    assert_eq!((carol.is_hit(), carol.header("set-cookie")), (true, None));
}

#[test]
fn one_clients_error_is_no_outage() {
    let stack = stack(|request| {
        let status: u16 = request.path.trim_start_matches('/').parse().unwrap_or(200);
        let bad = request.header("x-bad").is_some() || request.header("range").is_some();
        if bad {
            Reply::new(status).body("error").max_age(60)
        } else {
            Reply::ok("well").max_age(60)
        }
    });
    for status in [
        401, 403, 406, 407, 408, 409, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431, 511,
    ] {
        let path = format!("/{status}");
        let error = ask(&stack, &path, &[("x-bad", "1")]);
        assert_eq!(error.status, status);
        assert!(
            error.cache_status().ends_with("detail=request-status"),
            "{}",
            error.cache_status()
        );
        let well = ask(&stack, &path, &[]);
        assert_eq!((well.status, well.is_hit()), (200, false), "{status}");
    }
    for status in [400, 500, 502, 503, 504] {
        let path = format!("/{status}");
        assert_eq!(ask(&stack, &path, &[("x-bad", "1")]).status, status);
        let again = ask(&stack, &path, &[]);
        let ttl: u64 = again.cache_status().trim_start_matches("hit; ttl=").parse().unwrap();
        assert!(again.status == status && ttl <= 10, "{status} {}", again.cache_status());
    }
    let part = ask(&stack, "/416?", &[("range", "bytes=9-")]);
    assert_eq!((part.status, ask(&stack, "/416?", &[]).status), (200, 200));
}

#[test]
fn what_an_envoy_tells_the_one_before_it_is_said_once() {
    let stack = stack(|request| {
        let name = request.path.trim_start_matches('/').to_owned();
        Reply::ok("content").max_age(60).header(&name, "true")
    });
    for name in ["immediate-health-check-fail", "degraded", "overloaded", "ratelimited"] {
        let (path, name) = (format!("/x-envoy-{name}"), format!("x-envoy-{name}"));
        for _ in 0..2 {
            let answer = ask(&stack, &path, &[]);
            assert_eq!(answer.header(&name).as_deref(), Some("true"), "{name}");
            assert!(
                answer.cache_status().ends_with("detail=envoy-signal"),
                "{}",
                answer.cache_status()
            );
        }
    }
    for name in ["x-envoy-upstream-canary", "www-authenticate", "authentication-info"] {
        ask(&stack, &format!("/{name}"), &[]);
        let hit = ask(&stack, &format!("/{name}"), &[]);
        assert_eq!((hit.is_hit(), hit.header(name)), (true, None), "{name}");
    }
}

#[test]
fn a_request_with_content_is_nobody_elses() {
    let stack = stack(|request| {
        let content = String::from_utf8_lossy(&request.body).into_owned();
        let method = request.header("x-http-method-override").unwrap_or("GET").to_owned();
        Reply::ok(format!("{method} {content}")).max_age(60)
    });
    let content = |path: &str, body: &str| stack.envoy.fetch(&Request::get(path).body(body)).unwrap();
    for body in ["shoes", "hats", "shoes"] {
        let answer = content("/search", body);
        assert_eq!((answer.text(), answer.is_hit()), (format!("GET {body}"), false));
        assert_eq!(answer.cache_status(), "fwd=bypass; detail=request-content");
    }
    assert_eq!(ask(&stack, "/search", &[]).text(), "GET ");
    assert!(ask(&stack, "/search", &[]).is_hit());
    assert!(
        ask(&stack, "/search", &[("content-length", "0")]).is_hit(),
        "no content"
    );
    assert_eq!(content("/search", "hats").text(), "GET hats");
    for chunks in ["4\r\nhats\r\n0\r\n\r\n", "0\r\n\r\n"] {
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        let head = "GET /search HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.send(format!("{head}{chunks}").as_bytes()).unwrap();
        let answer = connection.response("GET").unwrap();
        assert_eq!(answer.cache_status(), "fwd=bypass; detail=request-content");
    }
    let answer = ask(&stack, "/search", &[("x-http-method-override", "DELETE")]);
    assert_eq!(answer.text(), "DELETE ");
    assert_eq!(answer.cache_status(), "fwd=bypass; detail=method-override");
    assert_eq!(ask(&stack, "/search", &[]).text(), "GET ");
}

#[test]
fn a_browser_gets_the_answer_for_its_own_origin() {
    let stack = stack(|request| {
        let reply = Reply::ok("content").max_age(60);
        match (request.path.as_str(), request.header("origin")) {
            ("/reflected", Some(origin)) => reply.header("access-control-allow-origin", origin),
            ("/all", _) => reply.header("access-control-allow-origin", "*"),
            _ => reply,
        }
    });
    for origin in ["https://a.example", "https://b.example", "null"] {
        for hit in [false, true] {
            let answer = ask(&stack, "/reflected", &[("origin", origin)]);
            assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some(origin));
            assert_eq!(answer.is_hit(), hit, "{origin} {}", answer.cache_status());
        }
        let plain = ask(&stack, "/reflected", &[]);
        assert_eq!(plain.header("access-control-allow-origin"), None);
    }
    for path in ["/all", "/none"] {
        ask(&stack, path, &[]);
        ask(&stack, path, &[("origin", "https://a.example")]);
        for fields in [&[("origin", "https://b.example")][..], &[]] {
            assert!(ask(&stack, path, fields).is_hit(), "{path} {fields:?}");
        }
    }
    assert_eq!((stack.origin.count("/all"), stack.origin.count("/none")), (1, 2));
}

#[test]
fn a_304_reaches_only_who_asked() {
    let stack = stack(|request| {
        let (tag, told) = match request.path.as_str() {
            "/suffix" => ("\"a--gzip\"", "\"a\""),
            "/unquoted" => ("\"a\"", "a"),
            "/same" | "/match" => ("\"a\"", "\"a\""),
            _ => ("\"a\"", "\"z\""),
        };
        if request.header("if-none-match").is_some() || request.header("if-match").is_some_and(|tag| tag == "never") {
            return Reply::new(304).header("etag", told).max_age(60);
        }
        Reply::ok("content")
            .header("content-type", "text/plain")
            .header("etag", tag)
            .header("cache-control", "max-age=1")
    });
    let paths = ["/suffix", "/unquoted", "/same", "/match", "/other"];
    for path in paths {
        assert_eq!(ask(&stack, path, &[]).text(), "content");
    }
    std::thread::sleep(Duration::from_millis(1_300));
    for path in paths {
        let fields: &[(&str, &str)] = if path == "/match" {
            &[("if-match", "\"a\"")]
        } else {
            &[]
        };
        let answer = ask(&stack, path, fields);
        assert_eq!((answer.status, answer.text().as_str()), (200, "content"), "{path}");
        let validated = answer.cache_status().contains("fwd-status=304");
        assert_eq!(validated, path != "/match", "{path} {}", answer.cache_status());
    }
    for path in ["/suffix", "/unquoted", "/same"] {
        assert!(ask(&stack, path, &[]).is_hit(), "{path}");
    }
    let sent = stack.origin.received();
    let matched = sent.iter().rfind(|request| request.path == "/match").unwrap();
    assert_eq!(
        (matched.header("if-match"), matched.header("if-none-match")),
        (Some("\"a\""), None)
    );
    // The mismatch has removed it: the next request fetches.
    let again = ask(&stack, "/other", &[]);
    assert_eq!((again.status, again.text().as_str()), (200, "content"));
    assert!(
        again.cache_status().starts_with("fwd=uri-miss"),
        "{}",
        again.cache_status()
    );
}

#[test]
fn a_client_with_something_newer_gets_its_304() {
    let stack = stack(|request| {
        let asked = request.header("if-none-match").unwrap_or_default();
        let newest = if request.header("x-age").is_some() {
            "\"old\""
        } else {
            "\"new\""
        };
        if asked.contains(newest) {
            return Reply::new(304)
                .header("etag", newest)
                .header("cache-control", "max-age=1");
        }
        Reply::ok(newest)
            .header("content-type", "text/plain")
            .header("etag", newest)
            .header("cache-control", "max-age=1")
    });
    ask(&stack, "/page", &[("x-age", "1")]);
    std::thread::sleep(Duration::from_millis(1_300));
    let newer = ask(&stack, "/page", &[("if-none-match", "\"new\"")]);
    assert_eq!((newer.status, newer.header("etag").as_deref()), (304, Some("\"new\"")));
    assert_eq!(ask(&stack, "/page", &[]).text(), "\"new\"");
}

#[test]
fn a_304_without_date_freshens() {
    let stack = stack(|request| {
        if request.header("if-none-match").is_some() {
            return Reply::new(304);
        }
        let age = if request.path == "/swr" {
            "max-age=2, stale-while-revalidate=60"
        } else {
            "max-age=2"
        };
        Reply::ok("content")
            .header("content-type", "text/plain")
            .header("etag", "\"v\"")
            .header("date", httpdate::fmt_http_date(SystemTime::now()))
            .header("cache-control", age)
    });
    for path in ["/plain", "/swr"] {
        ask(&stack, path, &[]);
    }
    std::thread::sleep(Duration::from_millis(2_600));
    for _ in 0..3 {
        assert_eq!(ask(&stack, "/plain", &[]).status, 200);
    }
    assert_eq!(stack.origin.count("/plain"), 2, "one fetch, one validation");
    // A worker that has not lately seen a request leave as it came renews by the client's own request.
    let answer = ask(&stack, "/swr", &[]);
    let status = answer.header("cache-status").unwrap_or_default();
    assert!(answer.is_hit() || status.contains("detail=refresh"), "{status}");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"content"[..]));
    wait::until("the refresh", || (stack.origin.count("/swr") == 2).then_some(())).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..10 {
        assert!(ask(&stack, "/swr", &[]).is_hit());
    }
    assert!(stack.origin.count("/swr") <= 3, "{}", stack.origin.count("/swr"));
}
