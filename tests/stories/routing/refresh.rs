//! What renews a stored response goes where the request for it went, and looks the same there.

use super::bench::{ask, origin, said, start};
use e2e::artefacts::Shell;
use e2e::bootstrap::Part;
use e2e::client::{Request, Response};
use e2e::origin::{Framing, Origin, Received, Reply};
use e2e::stack::Stack;
use e2e::wait;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SWR: &str = "max-age=1, stale-while-revalidate=60";

/// Asks for the path without a pause on several connections. All answers.
fn load(stack: &Stack, path: &str, fields: &[(&str, &str)], lasts: Duration) -> Vec<Response> {
    let end = Instant::now() + lasts;
    let request = fields
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(name, value));
    let client = || {
        let mut connection = e2e::client::Connection::open(stack.envoy.address()).unwrap();
        let mut answers = Vec::new();
        while Instant::now() < end {
            answers.push(connection.exchange(&request).unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        answers
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// An origin that takes its time, whose answers are soon to be renewed.
fn slow(cache_control: &'static str) -> Origin {
    origin("only", move |_, reply| {
        reply
            .header("cache-control", cache_control)
            .after(Duration::from_millis(150))
    })
}

const CHANGES: &str = r#"- name: NAME
  match: { prefix: "/rw/" }
  route: { cluster: origin, prefix_rewrite: "/rewritten/" }
- match: { prefix: "/rw2/" }
  route: { cluster: origin, prefix_rewrite: "/rewritten/" }
- match: { prefix: "/host/" }
  route: { cluster: origin, host_rewrite_literal: inner.example }
- match: { prefix: "/add/" }
  request_headers_to_add: [{ header: { key: x-route, value: added } }]
  route: { cluster: origin }
- match: { prefix: "/drop/" }
  request_headers_to_remove: [x-client]
  route: { cluster: origin }
"#;

#[test]
fn under_load_everything_is_renewed_where_it_came_from() {
    for (cache_control, kind) in [(SWR, "stale"), ("max-age=2", "early")] {
        let stack = start(&[(Part::Routes, CHANGES)], slow(cache_control));
        for (path, name, wanted) in [
            ("/rw/x", "path", "/rewritten/x"),
            ("/rw2/x", "path", "/rewritten/x"),
            ("/host/x", "host", "inner.example"),
        ] {
            let answers = load(&stack, path, &[], Duration::from_secs(4));
            let wrong = answers.iter().filter(|answer| said(answer, name) != wanted).count();
            let hits = answers.iter().filter(|answer| answer.is_hit()).count();
            assert_eq!(wrong, 0, "{kind} {path}: {wrong} of {}", answers.len());
            assert!(
                hits * 2 > answers.len(),
                "{kind} {path}: {hits} hits of {}",
                answers.len()
            );
        }
        let asked = stack.origin.received();
        assert!(asked.len() >= 6 && asked.len() < 60, "{kind}: {}", asked.len());
        assert!(asked.iter().all(|request| !request.path.starts_with("/rw")), "{kind}");
    }
}

fn without_hop(request: &Received) -> Vec<(String, String)> {
    let of_the_hop = |name: &str| name.starts_with("x-envoy-") || name == "x-request-id" || name.starts_with("if-");
    let mut fields: Vec<_> = request
        .fields
        .iter()
        .filter(|(name, _)| !of_the_hop(name))
        .cloned()
        .collect();
    // Of a dynamic module's own calls Envoy adds itself to those that a request came by, and cannot be told not to.
    if Shell::asked_for().unwrap() == Shell::Native {
        for (_, value) in fields.iter_mut().filter(|(name, _)| name == "x-forwarded-for") {
            value.truncate(value.find(',').unwrap_or(value.len()));
        }
    }
    fields.sort();
    fields
}

/// Waits until the path was asked for so often at the origin, being asked for all the time.
fn until_asked(stack: &Stack, path: &str, fields: &[(&str, &str)], times: usize) {
    wait::until("renewed", || {
        ask(stack, path, fields);
        (stack.origin.count(path) >= times).then_some(())
    })
    .unwrap();
}

#[test]
fn a_renewal_looks_like_the_request_that_asked_for_it() {
    let stack = start(
        &[(Part::Routes, CHANGES)],
        origin("only", |request, reply| {
            let reply = reply.header("cache-control", SWR);
            if request.path.contains("tag") {
                reply.header("etag", "\"v\"")
            } else {
                reply
            }
        }),
    );
    let fields = [
        ("x-client", "1"),
        ("x-client", "2"),
        ("cookie", "a=b; c=d"),
        ("accept-language", "de, en;q=0.5"),
        ("user-agent", "story"),
    ];
    for path in ["/plain/a", "/plain/tag", "/add/a", "/drop/a"] {
        for round in 1..4 {
            until_asked(&stack, path, &fields, round);
        }
        let asked: Vec<_> = stack
            .origin
            .received()
            .into_iter()
            .filter(|request| request.path == path)
            .collect();
        for renewal in &asked {
            assert_eq!(without_hop(renewal), without_hop(&asked[0]), "{path}");
            assert!(renewal.header("surrogate-capability").is_some(), "{path}");
        }
        assert_eq!(
            asked[1].header("if-none-match").is_some(),
            path.contains("tag"),
            "{path}"
        );
        assert_eq!(asked[1].header("x-route").is_some(), path.starts_with("/add"), "{path}");
        assert_eq!(
            asked[1].header("x-client").is_some(),
            !path.starts_with("/drop"),
            "{path}"
        );
    }
}

#[test]
fn what_a_filter_behind_adds_to_requests_is_in_their_renewals() {
    let mutation = r#"- name: envoy.filters.http.header_mutation
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations:
      request_mutations:
      - append: { header: { key: x-behind, value: "yes" } }
"#;
    let stack = start(&[(Part::HttpFilters, mutation)], slow(SWR));
    let answers = load(&stack, "/p", &[], Duration::from_secs(4));
    assert!(answers.iter().filter(|answer| answer.is_hit()).count() * 2 > answers.len());
    let asked = stack.origin.received();
    assert!(asked.len() > 1 && asked.iter().all(|request| request.header("x-behind") == Some("yes")));
}

#[test]
fn what_is_renewed_has_the_fields_that_rules_give_responses() {
    let rules = "response_headers_to_add:\n\
                 - { header: { key: access-control-allow-origin, value: \"https://app.example\" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }\n\
                 - { header: { key: x-rule, value: given } }\nresponse_headers_to_remove: [x-gone]\n";
    let stack = start(
        &[(Part::RouteConfig, rules)],
        origin("only", |_, reply| {
            let reply = reply.header("cache-control", SWR).header("x-gone", "1");
            reply
                .header("access-control-allow-origin", "*")
                .after(Duration::from_millis(20))
        }),
    );
    for answer in load(&stack, "/p", &[], Duration::from_secs(5)) {
        assert_eq!(
            answer.header("x-rule").as_deref(),
            Some("given"),
            "{}",
            answer.cache_status()
        );
        assert_eq!(answer.header("x-gone"), None);
        assert_eq!(
            answer.header("access-control-allow-origin").as_deref(),
            Some("https://app.example")
        );
    }
    assert!(stack.origin.total() > 3, "renewed: {}", stack.origin.total());
}

#[test]
fn half_a_body_whose_end_proves_nothing_renews_nothing() {
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let (body, framing) = match asked.fetch_add(1, Ordering::SeqCst) {
            0 => ("whole body", Framing::Length),
            _ => ("half", Framing::UntilClose),
        };
        Reply::ok(body).header("cache-control", SWR).framing(framing)
    })
    .unwrap();
    let stack = start(&[], origin);
    until_asked(&stack, "/p", &[], 2);
    for _ in 0..20 {
        let answer = ask(&stack, "/p", &[]);
        assert!(
            !answer.is_hit() || answer.text() == "whole body",
            "{}",
            answer.cache_status()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_renewal_that_fails_costs_no_client_an_error() {
    for path in ["/plain/x", "/add/x"] {
        let stack = start(&[(Part::Routes, CHANGES)], slow(SWR));
        for _ in 0..2 {
            ask(&stack, path, &[]);
        }
        stack.origin.script(|_| Reply::new(503));
        let answers = load(&stack, path, &[], Duration::from_secs(3));
        let failed = answers.iter().filter(|answer| answer.status != 200).count();
        assert_eq!(
            failed,
            0,
            "{path}, of {}: {:?}",
            answers.len(),
            answers.iter().find(|answer| answer.status != 200)
        );
    }
}

#[test]
fn renewals_of_an_origin_that_answers_in_chunks_are_kept() {
    let stack = start(&[], {
        Origin::start(|request| {
            let path = request.path.clone();
            Reply::ok(path)
                .header("cache-control", SWR)
                .framing(Framing::Chunked(3))
        })
        .unwrap()
    });
    for round in 1..5 {
        until_asked(&stack, "/p", &[], round);
    }
    assert!(ask(&stack, "/p", &[]).is_hit());
}
