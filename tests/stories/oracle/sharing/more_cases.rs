//! Cases that turn on one field of the request or of the answer.

use super::case::{Case, FRESH, Step, controlled};

/// What one client's request says.
pub(super) fn by_request() -> Vec<Case> {
    let fresh = |name: &str| Case::new(name, |_, who| controlled(200, who, FRESH));
    let pair = |first: Step| vec![first, Step::get("bob")];
    let posted = |name: &str| {
        Case::new(name, |request, who| {
            let reply = controlled(200, who, FRESH);
            match request.method.as_str() {
                "POST" => reply.header("content-location", request.path.clone()),
                _ => reply,
            }
        })
    };
    let post = || Step::new("POST", "alice").body("x");
    let mut cases = vec![
        fresh("GET with content").asked(vec![Step::get("alice").body("shoes"), Step::get("bob").body("hats")]),
        fresh("GET with content, then without").asked(pair(Step::get("alice").body("shoes"))),
        fresh("POST, then GET")
            .asked(pair(Step::new("POST", "alice").body("x")))
            .never(),
        posted("POST that brings the page, with Cookie")
            .asked(pair(post().with("cookie", "s=1")))
            .never(),
        posted("POST that brings the page")
            .asked(pair(post()))
            .by_standard("RFC 9110 section 9.3.3"),
        fresh("OPTIONS, then GET")
            .asked(pair(Step::new("OPTIONS", "alice")))
            .never(),
        fresh("Host with user information").asked(vec![
            Step::get("alice").with("host", "alice@api.example"),
            Step::get("bob"),
        ]),
        fresh("Host with a dot").asked(vec![Step::get("alice").with("host", "api.example."), Step::get("bob")]),
        fresh("Host with a port")
            .asked(vec![
                Step::get("alice").with("host", "api.example:8080"),
                Step::get("bob"),
            ])
            .never(),
        fresh("another Host")
            .asked(vec![Step::get("alice").with("host", "alice.example"), Step::get("bob")])
            .never(),
    ];
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/alice"),
        ("x-forwarded-host", "alice.example"),
        ("cache-control", "no-store"),
        ("cache-control", "no-cache"),
        ("expect", "100-continue"),
        ("te", "trailers"),
        ("upgrade-insecure-requests", "1"),
        ("accept-encoding", "gzip"),
        ("accept", "text/html"),
        ("user-agent", "alice's"),
    ] {
        cases.push(fresh(&format!("first with {name}: {value}")).first_with(name, value));
    }
    cases
}

/// Fields of the answer that speak to one client or one hop.
pub(super) fn by_field() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, value, never) in [
        ("access-control-allow-origin", "https://alice.example", false),
        ("x-envoy-immediate-health-check-fail", "alice", true),
        ("x-envoy-degraded", "alice", true),
        ("set-cookie2", "sid=alice", false),
        ("authentication-info", "nextnonce=alice", false),
        ("www-authenticate", "Basic realm=alice", false),
        ("proxy-authenticate", "Basic realm=alice", false),
        ("clear-site-data", "\"cookies\"", false),
        ("location", "/alice", false),
        ("x-accel-expires", "0", false),
        ("connection", "x-for", false),
        ("content-encoding", "gzip", false),
    ] {
        let case = Case::new(format!("{name}: {value}, max-age"), move |_, who| {
            let reply = controlled(200, who, FRESH);
            if who == "alice" {
                reply.header(name, value)
            } else {
                reply
            }
        });
        let case = case.each_with("origin", "https://alice.example", "https://bob.example");
        cases.push(if never { case.never() } else { case });
    }
    cases
}
