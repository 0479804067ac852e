//! What must not be stored is not, and passes untouched.

use e2e::client::{Connection, Request};
use e2e::origin::{Framing, Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};

#[test]
fn what_may_not_be_shared_goes_to_the_origin_every_time() {
    let origin = Origin::start(|request| {
        let reply = Reply::ok(request.header("authorization").unwrap_or("nobody").to_owned());
        match request.path.as_str() {
            "/private" => reply.header("cache-control", "private, max-age=60"),
            "/no-store" => reply.header("cache-control", "no-store"),
            "/silent" => reply,
            "/star" => reply.max_age(60).header("vary", "*"),
            _ => reply.max_age(60),
        }
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    for path in ["/private", "/no-store", "/silent", "/star", "/identity"] {
        for who in ["alice", "bob"] {
            let answer = stack
                .envoy
                .fetch(&Request::get(path).header("authorization", who))
                .unwrap();
            assert_eq!(
                (answer.text().as_str(), answer.is_hit()),
                (who, false),
                "{path} {}",
                answer.cache_status()
            );
        }
        assert_eq!(stack.origin.count(path), 2, "{path}");
    }
}

#[test]
fn an_incomplete_body_is_never_stored() {
    let origin = Origin::start(|request| {
        let whole = Reply::ok("twelve bytes").max_age(60);
        match request.path.as_str() {
            "/length" => whole.framing(Framing::CutLength(5)),
            "/chunked" => whole.framing(Framing::CutChunked(5)),
            _ => whole.framing(Framing::UntilClose),
        }
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    for path in ["/length", "/chunked"] {
        assert!(stack.envoy.get(path).is_err(), "{path}");
    }
    assert_eq!(stack.envoy.get("/close").unwrap().text(), "twelve bytes");
    stack.origin.script(|_| Reply::ok("whole").max_age(60));
    for path in ["/length", "/chunked", "/close"] {
        let answer = stack.envoy.get(path).unwrap();
        assert_eq!((answer.text().as_str(), answer.is_hit()), ("whole", false), "{path}");
        assert!(stack.envoy.get(path).unwrap().is_hit(), "{path}");
    }
}

#[test]
fn a_response_reaches_its_client_while_the_origin_still_sends() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok("first then the rest")
            .framing(Framing::Chunked(5))
            .behind(&held);
        if request.path == "/stored" {
            reply.max_age(60)
        } else {
            reply
        }
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let mut held_back = Vec::new();
    for path in ["/stored", "/passed"] {
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        connection
            .send(format!("GET {path} HTTP/1.1\r\nhost: api.example\r\n\r\n").as_bytes())
            .unwrap();
        let mut seen = Vec::new();
        while !seen.windows(5).any(|window| window == b"first") {
            seen.extend(connection.read_at_least(1).unwrap());
        }
        held_back.push((connection, seen));
    }
    gate.open();
    for (mut connection, mut seen) in held_back {
        while !seen.ends_with(b"0\r\n\r\n") {
            seen.extend(connection.read_at_least(1).unwrap());
        }
    }
    assert_eq!(stack.envoy.get("/stored").unwrap().text(), "first then the rest");
    assert_eq!((stack.origin.count("/stored"), stack.origin.count("/passed")), (1, 1));
}
