//! What a route makes of its requests: what is in the key, who shares with whom, and what belongs together.

use e2e::client::{Request, Response};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;

fn stack() -> Stack {
    let origin = Origin::start(|request| {
        let reply = Reply::ok(format!("{} {}", request.method, request.path));
        match request.path.as_str() {
            "/groups/change" => reply.header("cache-group-invalidation", "\"prices\""),
            path if path.starts_with("/groups/prices") => {
                reply.max_age(600).header("cache-groups", "\"prices\", \"all\"")
            }
            path if path.starts_with("/groups") => reply.max_age(600).header("cache-groups", "\"other\""),
            path if path.starts_with("/silent") => reply,
            _ => reply.max_age(600),
        }
    })
    .unwrap();
    let routes = json!([
        {"name": "include", "path_prefix": "/include", "key_query": {"mode": "include", "names": ["id"]}},
        {"name": "exclude", "path_prefix": "/exclude", "key_query": {"mode": "exclude", "names": ["utm_source"]}},
        {"name": "bare", "path_prefix": "/bare", "key_query": {"mode": "none"}},
        {"name": "tenants", "path_prefix": "/tenants", "key_headers": ["x-tenant"]},
        {"name": "plans", "path_prefix": "/plans", "key_cookies": ["plan"]},
        {"name": "mine", "path_prefix": "/mine", "isolate_authorization": true, "ttl_override": "10m"},
        {"name": "deaf", "path_prefix": "/deaf", "ignore_request_cache_control": true},
        {"name": "off", "path_prefix": "/off", "cache": false},
        {"name": "silent", "path_prefix": "/silent", "default_ttl": "10m"},
        {"name": "small", "path_prefix": "/small", "max_object_size": "1KiB"},
    ]);
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    stack.change_settings(&json!({ "routes": routes })).unwrap();
    stack
}

fn with(stack: &Stack, path: &str, fields: &[(&str, &str)]) -> Response {
    let request = fields
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(name, value));
    let answer = stack.envoy.fetch(&request).unwrap();
    assert_eq!(answer.status, 200, "{path}");
    answer
}

#[test]
fn the_key_is_made_of_what_the_route_says() {
    let stack = stack();
    for (first, second, shared) in [
        ("/include?id=1&utm=a", "/include?utm=b&id=1", true),
        ("/include?id=1", "/include?id=2", false),
        ("/exclude?id=1&utm_source=a", "/exclude?utm_source=b&id=1", true),
        ("/exclude?id=3&x=1", "/exclude?id=3&x=2", false),
        ("/bare?id=1", "/bare?id=2", true),
        ("/other?id=1", "/other?id=2", false),
    ] {
        let miss = with(&stack, first, &[]);
        let answer = with(&stack, second, &[]);
        assert_eq!(
            answer.is_hit(),
            shared,
            "{first} and {second}: {}",
            answer.cache_status()
        );
        assert_eq!(answer.text() == miss.text(), shared, "{first} and {second}");
    }
    for (path, name, first, second, shared) in [
        ("/tenants/1", "x-tenant", "one", "two", false),
        ("/tenants/2", "x-other", "one", "two", true),
        (
            "/plans/1",
            "cookie",
            "plan=gold; session=1",
            "session=2; plan=gold",
            true,
        ),
        ("/plans/2", "cookie", "plan=gold", "plan=silver", false),
        ("/deaf", "cache-control", "max-age=60", "no-cache", true),
        ("/heard", "cache-control", "max-age=60", "no-cache", false),
        ("/silent", "x-any", "1", "2", true),
        ("/off", "x-any", "1", "2", false),
    ] {
        with(&stack, path, &[(name, first)]);
        let answer = with(&stack, path, &[(name, second)]);
        assert_eq!(answer.is_hit(), shared, "{path} {second}: {}", answer.cache_status());
        assert!(
            shared || !with(&stack, path, &[(name, first)]).is_hit() || path != "/off",
            "{path}"
        );
    }
    stack.origin.script(|_| Reply::ok(vec![b'x'; 1_025]).max_age(600));
    with(&stack, "/small", &[]);
    let again = with(&stack, "/small", &[]);
    assert!(
        !again.is_hit() && again.cache_status().contains("too-large"),
        "{}",
        again.cache_status()
    );
}

#[test]
fn identities_share_nothing_where_they_are_kept_apart_and_nothing_is_stored_elsewhere() {
    let stack = stack();
    stack.origin.script(|request| {
        let who = request.header("authorization").unwrap_or("nobody").to_owned();
        Reply::ok(who).header("cache-control", "private, max-age=60")
    });
    for who in ["Bearer alice", "Bearer bob"] {
        let first = with(&stack, "/elsewhere", &[("authorization", who)]);
        let again = with(&stack, "/elsewhere", &[("authorization", who)]);
        assert_eq!(
            (first.is_hit(), again.is_hit(), again.text().as_str()),
            (false, false, who)
        );
    }
    stack.origin.script(|request| {
        let who = request.header("authorization").unwrap_or("nobody").to_owned();
        Reply::ok(who).max_age(600)
    });
    for _ in 0..2 {
        for who in ["Bearer alice", "Bearer bob"] {
            assert_eq!(with(&stack, "/mine", &[("authorization", who)]).text(), who);
        }
        assert_eq!(with(&stack, "/mine", &[]).text(), "nobody");
    }
    assert!(with(&stack, "/mine", &[("authorization", "Bearer alice")]).is_hit());
    assert_eq!(stack.origin.count("/mine"), 3, "one for each identity");
    let url = "/cache/explain?url=http://api.example/mine&header=authorization:%20Bearer%20alice";
    let explained = stack.rest().get(url).unwrap().text();
    assert!(
        explained.contains("\"serve\"") && !explained.contains("alice"),
        "an explanation shows no credential: {explained}"
    );
}

#[test]
fn a_group_is_invalidated_as_one_by_whoever_changed_it() {
    let stack = stack();
    for path in ["/groups/prices/1", "/groups/prices/2", "/groups/texts"] {
        with(&stack, path, &[]);
        assert!(with(&stack, path, &[]).is_hit(), "{path}");
    }
    // A safe request invalidates nothing (RFC 9875 section 3).
    with(&stack, "/groups/change", &[]);
    assert!(with(&stack, "/groups/prices/1", &[]).is_hit());
    let elsewhere = Request::new("POST", "/groups/change").header("host", "another.example");
    stack.envoy.fetch(&elsewhere).unwrap();
    assert!(with(&stack, "/groups/prices/1", &[]).is_hit(), "another origin's group");

    stack.envoy.fetch(&Request::new("POST", "/groups/change")).unwrap();
    for connection in &mut stack.envoy.connection_per_worker().unwrap() {
        assert!(connection.exchange(&Request::get("/groups/texts")).unwrap().is_hit());
    }
    for path in ["/groups/prices/1", "/groups/prices/2"] {
        // The other workers hear of it within moments.
        wait::until("the group invalidated on the next worker", || {
            (!with(&stack, path, &[]).is_hit()).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn an_explanation_lists_the_variants_and_the_policy() {
    let stack = stack();
    stack
        .origin
        .script(|request| Reply::ok(request.path.clone()).max_age(600).header("vary", "x-colour"));
    for colour in ["red", "blue"] {
        with(&stack, "/tenants/coloured", &[("x-colour", colour)]);
    }
    let explain = |colour: &str| {
        let url = format!("/cache/explain?url=http://api.example/tenants/coloured&header=x-colour:%20{colour}");
        stack.rest().document(&url).unwrap()["envoys"][0]["explanation"].clone()
    };
    let missed = explain("green");
    assert_eq!(
        (&missed["decision"], &missed["reason"]),
        (&json!("forward"), &json!("vary-miss")),
        "{missed}"
    );
    assert_eq!(missed["policy"]["key"]["headers"], json!(["x-tenant"]), "{missed}");
    assert_eq!(missed["variants"].as_array().unwrap().len(), 2, "{missed}");
    let found = explain("red");
    let selected: Vec<_> = found["variants"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|variant| variant["selected"] == true)
        .map(|variant| variant["selecting"][0].clone())
        .collect();
    assert_eq!(
        (&found["decision"], selected.len(), &selected[0]["name"]),
        (&json!("serve"), 1, &json!("x-colour")),
        "{found}"
    );
}
