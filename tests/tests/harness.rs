//! The harness itself: the scripted origin, the client, and the real Envoy without the filter.

use e2e::bootstrap::Bootstrap;
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::origin::{Framing, Origin, Reply};
use e2e::ports::free_port;
use std::time::Duration;

fn fetch(origin: &Origin, path: &str) -> e2e::Result<e2e::client::Response> {
    Connection::open(origin.address())?.exchange(&Request::get(path))
}

#[test]
fn the_origin_answers_in_every_framing_and_remembers() {
    let origin = Origin::start(|request| match request.path.as_str() {
        "/length" => Reply::ok("twelve bytes").max_age(9),
        "/chunked" => Reply::ok("twelve bytes").framing(Framing::Chunked(5)),
        "/close" => Reply::ok("twelve bytes").framing(Framing::UntilClose),
        "/cut" => Reply::ok("twelve bytes").framing(Framing::CutLength(3)),
        "/cut-chunked" => Reply::ok("twelve bytes").framing(Framing::CutChunked(3)),
        "/late" => Reply::new(204).after(Duration::from_millis(20)),
        _ => Reply::new(200).framing(Framing::Nothing),
    })
    .unwrap();
    for path in ["/length", "/chunked", "/close"] {
        assert_eq!(fetch(&origin, path).unwrap().text(), "twelve bytes", "{path}");
    }
    for path in ["/cut", "/cut-chunked", "/nothing"] {
        assert!(fetch(&origin, path).is_err(), "{path}");
    }
    assert_eq!(fetch(&origin, "/late").unwrap().status, 204);
    assert_eq!(
        (origin.total(), origin.count("/length"), origin.connections()),
        (7, 1, 7)
    );
}

#[test]
fn the_origin_dies_and_comes_back() {
    let mut origin = Origin::start(|request| Reply::ok(request.body.clone())).unwrap();
    let mut connection = Connection::open(origin.address()).unwrap();
    let ask = Request::new("POST", "/").body("hello");
    assert_eq!(connection.exchange(&ask).unwrap().text(), "hello");
    origin.die();
    assert!(connection.exchange(&ask).is_err());
    assert!(fetch(&origin, "/").is_err());
    origin.revive().unwrap();
    assert_eq!(fetch(&origin, "/").unwrap().status, 200);
}

#[test]
fn envoy_forwards_without_the_filter_and_its_workers_can_be_told_apart() {
    let origin = Origin::start(|_| Reply::ok("from the origin").header("server", "shop/1")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = Bootstrap::bare(
        free_port().unwrap(),
        free_port().unwrap(),
        ("127.0.0.1".into(), origin.address().port()),
    );
    let mut envoy = Envoy::start(&bootstrap, 2, folder.path()).unwrap();
    envoy.wait_ready().unwrap();
    let answer = envoy.fetch(&Request::new("PURR", "/x")).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "from the origin"));
    assert_eq!(answer.header("server").as_deref(), Some("shop/1"));
    let mut workers = envoy.connection_per_worker().unwrap();
    assert_eq!(workers.len(), 2);
    for connection in &mut workers {
        assert_eq!(connection.exchange(&Request::get("/y")).unwrap().status, 200);
    }
    assert_eq!(origin.count("/y"), 2);
}
