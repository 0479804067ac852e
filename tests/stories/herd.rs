//! A crowd at one resource is never served one by one, whatever the origin's habit. The origin counts; no clock is asked.

use e2e::bootstrap::Part;
use e2e::client::{Connection, Request, Response};
use e2e::origin::{Framing, Gate, Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;

const CROWD: usize = 12;

fn start(settings: Value, parts: BTreeMap<Part, String>, origin: Origin) -> Stack {
    let plan = Plan {
        control_plane: false,
        settings,
        parts,
        ..Plan::default()
    };
    Stack::start(&plan, origin).unwrap()
}

/// The answers to so many requests that were all there before the origin answered the first one.
fn crowd(
    stack: &Stack,
    first: &Gate,
    request: impl Fn(usize) -> Request + Sync,
    meanwhile: impl FnOnce(),
) -> Vec<Response> {
    scope(|threads| {
        let request = &request;
        let clients: Vec<_> = (0..CROWD)
            .map(|client| threads.spawn(move || stack.envoy.fetch(&request(client)).unwrap()))
            .collect();
        stack.envoy.wait_for_requests(CROWD).unwrap();
        first.open();
        meanwhile();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn what_only_validates_answers_a_crowd_by_one_fetch() {
    let habits: [&[(&str, &str)]; 6] = [
        &[("etag", "\"e\"")],
        &[("cache-control", "no-cache"), ("etag", "\"e\"")],
        &[("cache-control", "max-age=0, must-revalidate"), ("etag", "\"e\"")],
        &[("cache-control", "max-age=60"), ("age", "60"), ("etag", "\"e\"")],
        &[("cache-control", "max-age=60"), ("age", "600")],
        &[
            ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("cache-control", "no-cache"),
        ],
    ];
    for habit in habits {
        let gate = Gate::default();
        let held = gate.clone();
        let lines: Vec<(String, String)> = habit
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let origin = Origin::start(move |request| {
            let reply = if request.header("if-none-match").is_some() || request.header("if-modified-since").is_some() {
                Reply::new(304)
            } else {
                Reply::ok("content").header("content-type", "text/plain")
            };
            let reply = lines
                .iter()
                .fold(reply, |reply, (name, value)| reply.header(name, value));
            reply.behind(&held)
        })
        .unwrap();
        let stack = start(json!({}), BTreeMap::new(), origin);
        let answers = crowd(&stack, &gate, |_| Request::get("/page"), || ());
        for answer in &answers {
            assert_eq!((answer.status, answer.text().as_str()), (200, "content"), "{habit:?}");
        }
        assert_eq!(
            stack.origin.total(),
            1,
            "{habit:?}: one fetch for all who asked before it came"
        );
        let again = stack.envoy.get("/page").unwrap();
        assert_eq!((again.status, again.text().as_str()), (200, "content"));
        assert_eq!(
            stack.origin.total(),
            2,
            "{habit:?}: whoever comes later asks the origin"
        );
    }
}

/// Of a crowd the first request is answered through one gate; the others reach the origin all together, in front of another gate.
fn all_at_once(parts: BTreeMap<Part, String>, reply: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
    let (first, rest) = (Gate::default(), Gate::default());
    let (one, others) = (first.clone(), rest.clone());
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |request| {
        let answer = reply(request);
        if request.path == "/target" {
            return answer;
        }
        let held = if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            &one
        } else {
            &others
        };
        answer.behind(held)
    })
    .unwrap();
    let stack = start(json!({}), parts, origin);
    let request = |client: usize| Request::get("/page").header("x-tenant", format!("t{client}"));
    let answers = crowd(&stack, &first, request, || {
        wait::until("the rest of the crowd at the origin at once", || {
            (stack.origin.count("/page") == CROWD).then_some(())
        })
        .unwrap();
        rest.open();
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[test]
fn what_varies_lets_the_crowd_go_at_once() {
    all_at_once(BTreeMap::new(), |request| {
        Reply::ok(request.header("x-tenant").unwrap_or_default())
            .max_age(60)
            .header("vary", "x-tenant")
    });
}

#[test]
fn what_may_not_be_shared_lets_the_crowd_go_at_once() {
    all_at_once(BTreeMap::new(), |_| {
        Reply::ok("mine").header("cache-control", "private")
    });
}

#[test]
fn a_redirect_that_envoy_follows_itself_lets_the_crowd_go_at_once() {
    let route = "- match: { path: /page }\n  route: { cluster: origin, timeout: 60s, internal_redirect_policy: { max_internal_redirects: 2 } }";
    let parts = BTreeMap::from([(Part::Routes, route.to_owned())]);
    all_at_once(parts, |request| match request.path.as_str() {
        "/target" => Reply::ok("there").header("cache-control", "no-store"),
        _ => Reply::new(302).header("location", "http://api.example/target"),
    });
}

#[test]
fn a_known_variant_is_not_waited_for_by_others() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(request.header("x-tenant").unwrap_or_default())
            .max_age(60)
            .header("vary", "x-tenant");
        if request.path == "/known" {
            reply
        } else {
            reply.behind(&held)
        }
    })
    .unwrap();
    // One worker: another one would learn it at its next tick.
    let plan = Plan {
        control_plane: false,
        workers: 1,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    stack.envoy.get("/known").unwrap();
    scope(|threads| {
        let stack = &stack;
        let clients: Vec<_> = (0..CROWD)
            .map(|client| {
                threads.spawn(move || {
                    let request = Request::get("/cold").header("x-tenant", format!("t{client}"));
                    stack.envoy.fetch(&request).unwrap()
                })
            })
            .collect();
        let together = wait::until("all of the crowd at the origin before it answers", || {
            (stack.origin.count("/cold") == CROWD).then_some(())
        });
        gate.open();
        for client in clients {
            assert_eq!(client.join().unwrap().status, 200);
        }
        together.unwrap();
    });
}

#[test]
fn a_failure_is_tried_once_more_and_answers_all() {
    for (framing, status) in [(Framing::Nothing, 503), (Framing::Length, 500)] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| Reply::new(500).framing(framing).behind(&held)).unwrap();
        let stack = start(json!({"breaker": {"enabled": false}}), BTreeMap::new(), origin);
        let answers = crowd(&stack, &gate, |_| Request::get("/page"), || ());
        for answer in &answers {
            assert_eq!(answer.status, status, "{framing:?}");
        }
        assert_eq!(stack.origin.total(), 2, "{framing:?}: the fetch, and one more");
        // It is over: the next crowd is served.
        stack.origin.script(|_| Reply::ok("well again").max_age(60));
        assert_eq!(stack.envoy.get("/page").unwrap().text(), "well again");
    }
}

#[test]
fn something_stale_answers_a_crowd_whose_fetch_fails() {
    let origin = Origin::start(|_| Reply::ok("old").header("cache-control", "max-age=1, stale-if-error=600")).unwrap();
    let stack = start(json!({"breaker": {"enabled": false}}), BTreeMap::new(), origin);
    stack.envoy.get("/page").unwrap();
    let gate = Gate::default();
    wait::until("a stale response", || {
        let asked = Request::get("/page").header("cache-control", "only-if-cached, max-stale=0");
        (stack.envoy.fetch(&asked).unwrap().status == 504).then_some(())
    })
    .unwrap();
    let before = stack.envoy.stat("http.ingress.downstream_rq_total");
    let held = gate.clone();
    stack.origin.script(move |_| Reply::new(500).behind(&held));
    let asked = stack.origin.total();
    scope(|threads| {
        let stack = &stack;
        let clients: Vec<_> = (0..CROWD)
            .map(|_| threads.spawn(move || stack.envoy.get("/page").unwrap()))
            .collect();
        wait::until("the crowd", || {
            let arrived = stack.envoy.stat("http.ingress.downstream_rq_total") - before;
            (arrived >= CROWD as u64).then_some(())
        })
        .unwrap();
        gate.open();
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "old"));
        }
    });
    assert_eq!(stack.origin.total() - asked, 1, "nobody asked a second time");
}

#[test]
fn a_silent_fetch_gets_one_more_beside_it_and_that_answers_all() {
    let gate = Gate::default();
    let held = gate.clone();
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let reply = Reply::ok("content").max_age(60);
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => reply.behind(&held),
            _ => reply,
        }
    })
    .unwrap();
    let settings = json!({"request_collapsing": {"timeout": "1s"}});
    let stack = start(settings, BTreeMap::new(), origin);
    let mut leader = Connection::open(stack.envoy.address()).unwrap();
    leader.send(b"GET /page HTTP/1.1\r\nhost: api.example\r\n\r\n").unwrap();
    wait::until("the silent fetch", || (stack.origin.total() == 1).then_some(())).unwrap();
    scope(|threads| {
        let stack = &stack;
        let clients: Vec<_> = (0..CROWD)
            .map(|_| threads.spawn(move || stack.envoy.get("/page").unwrap()))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap().text(), "content");
        }
    });
    assert_eq!(stack.origin.total(), 2, "one went beside the silent one");
    gate.open();
    assert_eq!(leader.response("GET").unwrap().text(), "content");
}

#[test]
fn one_clients_no_store_does_not_part_a_crowd() {
    let (first, rest) = (Gate::default(), Gate::default());
    let (one, others) = (first.clone(), rest.clone());
    let origin = Origin::start(move |request| {
        let own = request.header("cache-control").is_some();
        Reply::ok("content")
            .max_age(60)
            .behind(if own { &one } else { &others })
    })
    .unwrap();
    let stack = start(json!({}), BTreeMap::new(), origin);
    let mut own = Connection::open(stack.envoy.address()).unwrap();
    own.send(b"GET /page HTTP/1.1\r\nhost: api.example\r\ncache-control: no-store\r\n\r\n")
        .unwrap();
    wait::until("its request", || (stack.origin.total() == 1).then_some(())).unwrap();
    first.open();
    own.response("GET").unwrap();
    let answers = crowd(&stack, &rest, |_| Request::get("/page"), || ());
    assert!(answers.iter().all(|answer| answer.text() == "content"));
    assert_eq!(stack.origin.total(), 2);
}

#[test]
fn collapsing_can_be_switched_off() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("content").max_age(60).behind(&held)).unwrap();
    let stack = start(
        json!({"request_collapsing": {"enabled": false}}),
        BTreeMap::new(),
        origin,
    );
    let answers = crowd(&stack, &gate, |_| Request::get("/page"), || ());
    assert_eq!(answers.len(), CROWD);
    assert_eq!(stack.origin.total(), CROWD);
}
