//! What one client shows, sets or leaves out is not for others: credentials that a guard takes off, time limits, content that does not
//! come; and what origins say in words that are no directives.

use e2e::bootstrap::Part;
use e2e::client::{Connection, Request, Response};
use e2e::origin::{Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// Tokens of the issuer `i` for two subjects, signed with the key in [`guard`].
const ALICE: &str = "eyJhbGciOiAiSFMyNTYiLCAia2lkIjogImsifQ.eyJpc3MiOiAiaSIsICJzdWIiOiAiYWxpY2UifQ.WBrt2ZebixnMDdpMDuhEv8Ip7M2DWx4LkWAozM_PW9w";
const BOB: &str = "eyJhbGciOiAiSFMyNTYiLCAia2lkIjogImsifQ.eyJpc3MiOiAiaSIsICJzdWIiOiAiYm9iIn0.2xgsYetxLzoX2UIRSNtgDAtDPcg2iWMCDQfTb3JJnNk";

/// `jwt_authn`, which takes the token off a request unless it is told to forward it.
fn guard(options: &str) -> String {
    let keys = r#"{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
    format!(
        r#"- name: envoy.filters.http.jwt_authn
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      p:
        issuer: i
        local_jwks: {{ inline_string: '{keys}' }}
        forward_payload_header: x-who
        {options}
    rules: [ {{ match: {{ prefix: / }}, requires: {{ provider_name: p }} }} ]
"#
    )
}

const AUTHENTICATED: &str = r#"- name: me
  match: { prefix: / }
  metadata: { filter_metadata: { api_optimizer: { authenticated: true } } }
  route: { cluster: origin }
"#;

fn stack(parts: BTreeMap<Part, String>, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Stack {
    let plan = Plan {
        control_plane: false,
        workers: 1,
        parts,
        ..Plan::default()
    };
    Stack::start(&plan, Origin::start(script).unwrap()).unwrap()
}

#[test]
fn what_an_authenticated_client_got_is_not_shared_although_the_guard_took_the_token_off() {
    let by_metadata = BTreeMap::from([(Part::Guards, guard("payload_in_metadata: payload"))]);
    let by_route = BTreeMap::from([(Part::Guards, guard("")), (Part::Routes, AUTHENTICATED.to_owned())]);
    for parts in [by_metadata, by_route] {
        let stack = stack(parts, |request| {
            assert!(request.header("authorization").is_none());
            let reply = Reply::ok(request.header("x-who").unwrap_or_default().to_owned());
            match request.path.as_str() {
                "/public" => reply.header("cache-control", "public, max-age=60"),
                _ => reply.max_age(60),
            }
        });
        let ask = |path: &str, token: &str| -> Response {
            let request = Request::get(path).header("authorization", format!("Bearer {token}"));
            stack.envoy.fetch(&request).unwrap()
        };
        let (alice, bob) = (ask("/me", ALICE), ask("/me", BOB));
        assert_eq!((alice.status, bob.status), (200, 200));
        assert!(!bob.is_hit() && alice.text() != bob.text(), "{}", bob.cache_status());
        assert!(
            alice.cache_status().contains("detail=authorization"),
            "{}",
            alice.cache_status()
        );
        ask("/public", ALICE);
        assert!(
            ask("/public", BOB).is_hit(),
            "the origin allows it (RFC 9111 section 3.5)"
        );
        assert_eq!(stack.envoy.fetch(&Request::get("/public")).unwrap().status, 401);
    }
}

#[test]
fn a_client_with_a_time_limit_of_its_own_harms_nobody() {
    // Callers on loopback may set limits here, as callers in a mesh may.
    let internal = "internal_address_config: { cidr_ranges: [ { address_prefix: 127.0.0.0, prefix_len: 8 } ] }\n";
    let parts = BTreeMap::from([(Part::ConnectionManager, internal.to_owned())]);
    let stack = stack(parts, |_| {
        Reply::ok("late").max_age(60).after(Duration::from_millis(400))
    });
    let hasty = |path: &str| Request::get(path).header("x-envoy-upstream-rq-timeout-ms", "20");
    for number in 0..30 {
        let answer = stack.envoy.fetch(&hasty(&format!("/hasty?{number}"))).unwrap();
        assert_eq!(answer.status, 504, "{}", answer.cache_status());
    }
    assert_eq!(stack.envoy.fetch(&Request::get("/patient")).unwrap().status, 200);
    std::thread::scope(|scope| {
        let hasty = scope.spawn(|| stack.envoy.fetch(&hasty("/crowd")).unwrap().status);
        let waiting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| stack.envoy.fetch(&Request::get("/crowd")).unwrap().status))
            .collect();
        assert!(waiting.into_iter().all(|answer| answer.join().unwrap() == 200));
        assert_eq!(hasty.join().unwrap(), 504);
    });
}

#[test]
fn from_outside_nobody_sets_limits() {
    let stack = stack(BTreeMap::new(), |request| {
        let seen = request.header("x-request-id").unwrap_or_default().to_owned();
        Reply::ok(seen).after(Duration::from_millis(100))
    });
    let request = Request::get("/")
        .header("x-envoy-upstream-rq-timeout-ms", "5")
        .header("x-request-id", "mine");
    let answer = stack.envoy.fetch(&request).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "mine"));
}

#[test]
fn words_that_forbid_to_store_are_obeyed_wherever_they_stand() {
    let stack = stack(BTreeMap::new(), |request| {
        let words = request.header("x-words").unwrap_or_default().to_owned();
        let (name, value) = words.split_once(": ").unwrap_or_default();
        Reply::ok("one client's")
            .header(name, value)
            .header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    });
    for (number, words) in [
        "cache-control: private; max-age=60",
        "cache-control: no-store; max-age=60",
        "cache-control: no-cache; no-store; must-revalidate",
        "cache-control: private max-age=60",
        "cache-control: \"private\"",
        "cache-control: private=true, max-age=60",
        "cache-control: max-age=60, x=\"open, private",
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::get(&format!("/{number}")).header("x-words", words);
        for _ in 0..2 {
            let answer = stack.envoy.fetch(&request).unwrap();
            assert!(!answer.is_hit(), "{words}");
            let status = answer.cache_status().to_owned();
            assert!(!status.contains("stored"), "{words}: {status}");
        }
    }
}

/// An origin that reads only heads. It hangs up where content is to follow, and answers everything else.
fn impatient() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let content_follows = lines
                    .by_ref()
                    .take_while(|line| !line.is_empty())
                    .any(|line| line.to_ascii_lowercase().starts_with("content-length"));
                if !content_follows {
                    let _ =
                        (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwell");
                }
            });
        }
    });
    port
}

#[test]
fn an_upstream_that_hangs_up_on_half_a_request_goes_on_being_asked() {
    let plan = Plan {
        control_plane: false,
        workers: 1,
        upstream_port: Some(impatient()),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("")).unwrap()).unwrap();
    for _ in 0..30 {
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        connection
            .send(b"POST /half HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1000\r\n\r\nabc")
            .unwrap();
        assert_eq!(connection.response("POST").unwrap().status, 503);
    }
    assert_eq!(stack.envoy.fetch(&Request::get("/well")).unwrap().text(), "well");
}
