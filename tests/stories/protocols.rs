//! What HTTP/1.0, HTTP/1.1 and HTTP/2 have beside heads and bodies: interim responses, trailers, codings, missing lengths.

use e2e::artefacts;
use e2e::bootstrap::{Bootstrap, Part};
use e2e::client::Request;
use e2e::envoy::Envoy;
use e2e::origin::{Framing, Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use std::process::Command;

fn raw(text: &str) -> Reply {
    Reply::ok(text.to_owned()).framing(Framing::Raw)
}

fn origin() -> Origin {
    Origin::start(|request| match request.path.as_str() {
        "/hints" => raw(
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\ncache-control: no-store\r\n\r\n\
             HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 5\r\n\r\nfinal",
        ),
        "/old" => raw("HTTP/1.0 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 3\r\n\r\nold"),
        "/old/unmeasured" => raw("HTTP/1.0 200 OK\r\ncache-control: max-age=600\r\n\r\nwho knows"),
        "/trailers" => raw(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             4\r\nwith\r\n0\r\nx-sum: 4\r\n\r\n",
        ),
        "/trailers/cut" => raw(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwith\r\n0\r\nx-sum: 4\r\n",
        ),
        "/coded" => {
            let coding = request.header("accept-encoding").unwrap_or("identity").to_owned();
            // No coding at all: nobody between origin and client may look into it.
            Reply::ok(b"\x1f\x8b\x00not really\xff".to_vec())
                .max_age(600)
                .header("content-encoding", coding)
                .header("vary", "accept-encoding")
        }
        path => Reply::ok(path.to_owned()).max_age(600).header("etag", "\"v\""),
    })
    .unwrap()
}

fn with_trailers() -> Plan {
    let parts = [
        (Part::DownstreamHttp1, "enable_trailers: true".to_owned()),
        (
            Part::UpstreamHttp1,
            "http_protocol_options: { enable_trailers: true }".to_owned(),
        ),
    ];
    Plan {
        control_plane: false,
        parts: parts.into_iter().collect(),
        ..Plan::default()
    }
}

#[test]
fn interim_responses_and_old_origins_are_understood() {
    let stack = Stack::start(&with_trailers(), origin()).unwrap();
    for (path, body) in [("/hints", "final"), ("/old", "old")] {
        let answer = stack.envoy.get(path).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, body), "{path}");
        let hit = stack.envoy.get(path).unwrap();
        assert_eq!(
            (hit.status, hit.text().as_str(), hit.is_hit()),
            (200, body, true),
            "{path}"
        );
        assert_eq!(hit.header("link"), None, "of the interim response");
    }
    for _ in 0..2 {
        let answer = stack.envoy.get("/old/unmeasured").unwrap();
        assert_eq!(
            (answer.text().as_str(), answer.is_hit()),
            ("who knows", false),
            "its end proves nothing"
        );
    }
}

#[test]
fn trailers_end_a_body_and_are_left_out_of_what_is_stored() {
    let stack = Stack::start(&with_trailers(), origin()).unwrap();
    assert_eq!(stack.envoy.get("/trailers").unwrap().text(), "with");
    let hit = stack.envoy.get("/trailers").unwrap();
    assert_eq!(
        (hit.text().as_str(), hit.is_hit()),
        ("with", true),
        "{}",
        hit.cache_status()
    );
    for _ in 0..2 {
        assert!(stack.envoy.get("/trailers/cut").is_err(), "cut off within its trailers");
    }
    assert_eq!(stack.origin.count("/trailers/cut"), 2);
}

#[test]
fn a_content_coding_is_passed_on_as_it_came() {
    let stack = Stack::start(&with_trailers(), origin()).unwrap();
    for coding in ["gzip", "br"] {
        let request = Request::get("/coded").header("accept-encoding", coding);
        let miss = stack.envoy.fetch(&request).unwrap();
        let hit = stack.envoy.fetch(&request).unwrap();
        assert!(!miss.is_hit() && hit.is_hit(), "{}", hit.cache_status());
        assert_eq!(hit.header("content-encoding").as_deref(), Some(coding));
        assert_eq!(hit.body, b"\x1f\x8b\x00not really\xff");
    }
}

/// What `curl` gets by HTTP/2: status, then fields in lower case, then content.
fn by_http2(envoy: &Envoy, path: &str, more: &[&str]) -> String {
    let done = Command::new("curl")
        .args(["--http2-prior-knowledge", "--silent", "--show-error", "--include"])
        .args(more)
        .arg(format!("http://{}{path}", envoy.address()))
        .output()
        .expect("curl (Debian: curl)");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn http_2_on_both_sides_is_cached_like_any_other() {
    let origin = origin();
    let folder = tempfile::tempdir().unwrap();
    let envoy = |name: &str, upstream: u16, filter: bool| {
        let address = ("127.0.0.1".to_owned(), upstream);
        let mut bootstrap = Bootstrap::bare(free_port().unwrap(), free_port().unwrap(), address);
        if filter {
            bootstrap.wasm = Some(artefacts::filter().unwrap());
            bootstrap
                .parts
                .insert(Part::UpstreamHttp1, "http2_protocol_options: {}".to_owned());
        } else {
            let trailers = "http_protocol_options: { enable_trailers: true }".to_owned();
            bootstrap.parts.insert(Part::UpstreamHttp1, trailers);
        }
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut envoy = Envoy::start(&bootstrap, 2, &folder).unwrap();
        envoy.wait_ready().unwrap();
        envoy
    };
    // It speaks HTTP/2 on behalf of the origin.
    let beyond = envoy("beyond", origin.address().port(), false);
    let ours = envoy("ours", beyond.address().port(), true);
    let miss = by_http2(&ours, "/page", &[]);
    assert!(miss.starts_with("HTTP/2 200") && miss.ends_with("/page"), "{miss}");
    assert!(miss.contains("fwd=uri-miss; stored"), "{miss}");
    let hit = by_http2(&ours, "/page", &[]);
    assert!(hit.starts_with("HTTP/2 200") && hit.ends_with("/page"), "{hit}");
    assert!(
        hit.contains("api-optimizer; hit;") && hit.contains("\r\nage: "),
        "{hit}"
    );
    // Without a length a stream of HTTP/2 that is cut off looks like one that ended (Envoy tells the filter no difference).
    for _ in 0..2 {
        let passed = by_http2(&ours, "/trailers", &[]);
        assert!(
            passed.contains("detail=unprovable-end") && passed.contains("with"),
            "{passed}"
        );
        assert!(
            passed.ends_with("x-sum: 4\r\n") || passed.ends_with("x-sum: 4"),
            "its trailers arrive: {passed}"
        );
    }
    let unchanged = by_http2(&ours, "/page", &["--header", "if-none-match: \"v\""]);
    assert!(unchanged.starts_with("HTTP/2 304"), "{unchanged}");
    let part = by_http2(&ours, "/page", &["--range", "1-2"]);
    assert!(part.starts_with("HTTP/2 206") && part.ends_with("pa"), "{part}");
    assert!(by_http2(&ours, "/page", &["--head"]).starts_with("HTTP/2 200"));
    // The same stored response by HTTP/1.1.
    let same = Request::get("/page").header("host", ours.address().to_string());
    assert!(ours.fetch(&same).unwrap().is_hit());
    assert_eq!((origin.count("/page"), origin.count("/trailers")), (1, 2));
}
