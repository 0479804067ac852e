//! Requests that say one thing to the cache and another one to the origin: rules and keys that somebody tries to walk around.

use e2e::client::{Request, Response};
use e2e::origin::{Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an origin sees of a request, and may answer by.
fn seen(request: &Received) -> String {
    let lines = |name: &str| {
        let same = request
            .fields
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("|")
    };
    let fields = [
        "cookie",
        "x-tenant",
        "x_tenant",
        "accept-encoding",
        "user-agent",
        "referer",
        "authorization",
    ];
    let fields = fields.map(lines).join(" / ");
    format!("{} {fields}", request.path)
}

fn stack() -> Stack {
    let origin = Origin::start(|request| Reply::ok(seen(request)).max_age(600)).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let routes = json!([
        {"name": "include", "path_prefix": "/inc", "key_query": {"mode": "include", "names": ["id"]}},
        {"name": "exclude", "path_prefix": "/exc", "key_query": {"mode": "exclude", "names": ["utm"]}},
        {"name": "sessions", "path_prefix": "/ses", "key_cookies": ["sid"]},
        {"name": "tenants", "path_prefix": "/ten", "key_headers": ["x-tenant"]},
        {"name": "identities", "path_prefix": "/ident", "isolate_authorization": true},
        {"name": "private", "path_prefix": "/private", "cache": false},
        {"name": "elsewhere", "host": "shop.example", "path_prefix": "/cart", "cache": false},
    ]);
    stack
        .change_settings(&json!({ "routes": routes, "default_ttl": "10m" }))
        .unwrap();
    stack
}

fn ask(stack: &Stack, path: &str, fields: &[(&str, &str)]) -> Response {
    let request = fields
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(name, value));
    let answer = stack.envoy.fetch(&request).unwrap();
    assert!([200, 400].contains(&answer.status), "{path}: {}", answer.status);
    answer
}

/// Sends one request, so that it may be stored, and then another one; whether the second got what was meant for the first.
fn mixes_up(stack: &Stack, first: (&str, &[(&str, &str)]), second: (&str, &[(&str, &str)])) -> bool {
    let attack = ask(stack, first.0, first.1);
    let asked = stack.origin.total();
    let answer = ask(stack, second.0, second.1);
    let own = stack.origin.total() > asked && !answer.is_hit();
    assert!(own || answer.is_hit(), "{second:?}: {}", answer.cache_status());
    !own && attack.status == 200
}

fn numbered(path: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("{path}/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn a_keyed_parameter_is_found_in_whatever_spelling() {
    let stack = stack();
    for query in [
        "%69d=2",
        "x=1;id=2",
        "ID=2",
        "+id=2",
        "%20id=2",
        "id[]=2",
        "id%00=2",
        "id%00x=2",
        "%2569d=2",
        "x=1%26id=2",
        "x=1%3Bid=2",
        "i%64=2",
        "\"id\"=2",
        "=id=2",
        "id",
    ] {
        let path = numbered("/inc");
        assert!(
            !mixes_up(&stack, (&format!("{path}?{query}"), &[]), (&path, &[])),
            "{query}"
        );
        assert!(
            !mixes_up(
                &stack,
                (&format!("{path}x?id=1&{query}"), &[]),
                (&format!("{path}x?id=1"), &[])
            ),
            "{query} beside the plain one"
        );
    }
    let path = numbered("/inc");
    assert!(
        mixes_up(
            &stack,
            (&format!("{path}?id=1&y=%41"), &[]),
            (&format!("{path}?z=2&id=1"), &[])
        ),
        "others share"
    );
    for query in [
        "utm=1;id=2",
        "utm=1%26id=2",
        "utm=1%3Bid=2",
        "UTM=1",
        "%75tm=1",
        "utm=%",
        "utm[]=1",
    ] {
        let path = numbered("/exc");
        assert!(
            !mixes_up(&stack, (&format!("{path}?{query}"), &[]), (&path, &[])),
            "{query}"
        );
    }
    let path = numbered("/exc");
    assert!(
        mixes_up(
            &stack,
            (&format!("{path}?utm=a%20b"), &[]),
            (&format!("{path}?utm=c"), &[])
        ),
        "what is excluded is shared"
    );
}

#[test]
fn a_keyed_cookie_and_field_are_found_in_whatever_spelling() {
    let stack = stack();
    for cookie in [
        "sid =alice",
        " SID=alice",
        "\"sid\"=alice",
        "a=1, sid=alice",
        "%73id=alice",
        "a=1;sid=alice",
        "sid\t=alice",
        "sid=",
        "sid",
        "sid=alice; sid=bob",
        "sid[]=alice",
        "a=\"x; sid=alice\"",
    ] {
        let path = numbered("/ses");
        assert!(
            !mixes_up(&stack, (&path, &[("cookie", cookie)]), (&path, &[])),
            "{cookie}, then nobody"
        );
        assert!(
            !mixes_up(
                &stack,
                (&path, &[("cookie", cookie)]),
                (&path, &[("cookie", "sid=carol")])
            ),
            "{cookie}, then another one"
        );
    }
    let path = numbered("/ses");
    let two = [("cookie", "a=1"), ("cookie", "sid=alice")];
    assert!(
        !mixes_up(&stack, (&path, &two), (&path, &[("cookie", "a=1")])),
        "in a second line"
    );
    assert!(
        !mixes_up(
            &stack,
            (&path, &[("cookie", "sid=a,b")]),
            (&path, &[("cookie", "sid=a,c")])
        ),
        "with a comma"
    );
    let path = numbered("/ses");
    assert!(
        mixes_up(
            &stack,
            (&path, &[("cookie", "a=1; sid=alice")]),
            (&path, &[("cookie", "sid=alice;a=2")])
        ),
        "others share"
    );
    for fields in [
        &[("x_tenant", "evil")][..],
        &[("X-Tenant", "one"), ("X_Tenant", "evil")],
        &[("X_Tenant", "evil"), ("X-Tenant", "one")],
        &[("x-tenant", "one"), ("x-tenant", "evil")],
    ] {
        let path = numbered("/ten");
        assert!(!mixes_up(&stack, (&path, fields), (&path, &[])), "{fields:?}");
        assert!(
            !mixes_up(&stack, (&path, fields), (&path, &[("x-tenant", "one")])),
            "{fields:?}"
        );
    }
}

#[test]
fn a_rule_by_path_is_not_walked_around() {
    let stack = stack();
    for path in [
        "//private/a",
        "/./private/a",
        "/x/../private/a",
        "/x/..%2fprivate/a",
        "/x/..%2Fprivate/a",
        "/x/..%5cprivate/a",
        "/x/%2e%2e/private/a",
        "/x/..%252fprivate/a",
        "/x/..%25252fprivate/a",
        "/%70rivate/a",
        "/%2570rivate/a",
        "/Private/a",
        "/PRIVATE/a",
        "/x/..;v=1/private/a",
        "/;v=1/private/a",
        "/x\\..\\private/a",
        "/\\private/a",
        "/%5cprivate/a",
        "/%00private/a",
        "/pri%09vate/a",
        "/x/%c0%ae%c0%ae/private/a",
        "/x/..%u002fprivate/a",
        "/.%20/private/a",
        "/private/..%2fx",
        "/private./a",
    ] {
        for round in 0..2 {
            let answer = ask(&stack, path, &[]);
            assert!(
                !answer.is_hit() && !answer.cache_status().contains("stored"),
                "{path} {round}: {}",
                answer.cache_status()
            );
        }
    }
    let answer = ask(&stack, "/x/..%2fprivate/a", &[]);
    assert_eq!(answer.cache_status(), "fwd=bypass; detail=ambiguous-path");
    for (path, host) in [
        ("/cart/1", "shop.example."),
        ("/cart/2", "shop.example.:80"),
        ("/Cart/3", "shop.example"),
    ] {
        for _ in 0..2 {
            let answer = ask(&stack, path, &[("host", host)]);
            assert!(
                !answer.is_hit() && !answer.cache_status().contains("stored"),
                "{host}{path}"
            );
        }
    }
    for path in [
        "/public/a",
        "/Public/A.b?c=%2e%2e",
        "/caf%C3%A9",
        "/x;v=1",
        "/x//y",
        "/inc/a%20b?id=1",
    ] {
        ask(&stack, path, &[]);
        assert!(
            ask(&stack, path, &[]).is_hit(),
            "{path} leads to one rule however it is read"
        );
    }
    let explained = stack
        .rest()
        .document("/cache/explain?url=http://api.example/x/..%252fprivate/a")
        .unwrap();
    let explanation = &explained["envoys"][0]["explanation"];
    assert_eq!(explanation["reason"], "ambiguous-path", "{explained}");
    let shown = explanation["readings"].as_array().unwrap();
    assert!(shown.iter().any(|reading| reading["route"] == "private"), "{shown:?}");
    let post = Request::new("POST", "//private/b").body("x");
    stack.origin.script(|request| {
        let here = format!("http://api.example{}", request.path);
        Reply::ok(seen(request)).max_age(600).header("content-location", here)
    });
    stack.envoy.fetch(&post).unwrap();
    assert!(
        !ask(&stack, "//private/b", &[]).is_hit(),
        "nor is it stored from a POST"
    );
}

#[test]
fn values_that_are_no_lists_select_by_every_byte() {
    let stack = stack();
    stack.origin.script(|request| {
        let name = request
            .path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        Reply::ok(seen(request)).max_age(600).header("vary", name)
    });
    for (name, one, two, shared) in [
        ("cookie", "sid=1,,2", "sid=1,2", false),
        ("cookie", "sid=1; a=2", "sid=1;a=2", false),
        ("user-agent", "a (b,, c)", "a (b, c)", false),
        ("referer", "http://a/?x=1,,2", "http://a/?x=1,2", false),
        ("x-tenant", "1, 2", "1,2", false),
        ("x-tenant", "a", "A", false),
        ("accept", "text/html , */*;q=0.1", "text/html,*/*;q=0.1", true),
        ("accept-language", "en, de", "de,en", true),
        ("accept-encoding", "gzip;q=0, br", "gzip, br", false),
    ] {
        let path = numbered(&format!("/{name}"));
        assert_eq!(
            mixes_up(&stack, (&path, &[(name, one)]), (&path, &[(name, two)])),
            shared,
            "{name}: {one} / {two}"
        );
    }
    let path = numbered("/x-tenant");
    assert!(!mixes_up(&stack, (&path, &[("x_tenant", "1")]), (&path, &[])));
    assert!(!mixes_up(
        &stack,
        (&path, &[("x-tenant", "1"), ("x_tenant", "2")]),
        (&path, &[("x-tenant", "1")])
    ));
    // Eight clients, two sets of codings.
    let path = numbered("/accept-encoding");
    let before = stack.origin.total();
    for codings in [
        "gzip, deflate, br",
        "gzip,deflate,br",
        "br, gzip, deflate",
        "br;q=1.0, gzip;q=1.0, deflate",
        "GZIP, Deflate, BR",
        "gzip",
        "x-gzip",
        "gzip;q=1",
    ] {
        assert_eq!(ask(&stack, &path, &[("accept-encoding", codings)]).status, 200);
    }
    assert_eq!(stack.origin.total() - before, 2);
}

/// The key of Alice's request, as explained.
fn key_of_alice(explained: &Value) -> Vec<String> {
    let envoys = explained["envoys"].as_array().cloned().unwrap_or_default();
    let keys = envoys
        .iter()
        .map(|envoy| envoy["explanation"]["key"].as_str().unwrap_or_default().to_owned());
    keys.collect()
}

const ASK: &str = "/cache/explain?url=http://api.example/ident/1&header=authorization:%20Bearer%20alice";

#[test]
fn credentials_are_kept_under_a_secret_that_nobody_is_shown() {
    let mut stack = stack();
    let alice = [("authorization", "Bearer alice")];
    let hits = |stack: &Stack| (0..4).all(|_| ask(stack, "/ident/1", &alice).is_hit());
    ask(&stack, "/ident/1", &alice);
    ask(&stack, "/plain", &[]);
    assert!(hits(&stack), "on both workers");
    let key = key_of_alice(&stack.rest().document(ASK).unwrap());
    assert!(key[0].contains("digest:") && !key[0].contains("alice"), "{key:?}");
    let file = stack.control.as_ref().unwrap().state_dir().join("key-secret");
    let secret = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(secret.len() >= 32);
    for path in [
        "/settings",
        "/fleet",
        "/health",
        "/settings/export",
        "/settings/rollout",
        ASK,
    ] {
        let answer = stack.rest().get(path).unwrap().text();
        assert!(!answer.contains(&secret), "{path}");
    }
    let restart = |stack: &mut Stack| {
        let control = stack.control.as_mut().unwrap();
        control.kill();
        control.restart().unwrap();
        control.wait_live().unwrap();
        stack.wait_connected().unwrap();
    };
    restart(&mut stack);
    assert!(hits(&stack), "the secret outlives the control plane");
    assert_eq!(key_of_alice(&stack.rest().document(ASK).unwrap()), key);
    let log = stack.control.as_mut().unwrap().process().unwrap().output();
    assert!(!log.contains(&secret));
    std::fs::remove_file(&file).unwrap();
    restart(&mut stack);
    e2e::wait::until("another secret in force", || {
        (key_of_alice(&stack.rest().document(ASK).ok()?) != key).then_some(())
    })
    .unwrap();
    let other = std::fs::read_to_string(&file).unwrap();
    assert_ne!(other.trim(), secret);
    let asked = stack.origin.count("/ident/1");
    assert!(
        !ask(&stack, "/ident/1", &alice).is_hit(),
        "what was stored under the old secret is not found"
    );
    assert!(hits(&stack), "and what is stored under the new one is, on both workers");
    assert_eq!(stack.origin.count("/ident/1"), asked + 1);
    assert!(
        ask(&stack, "/plain", &[]).is_hit(),
        "what has no credential in its key stays"
    );
}

#[test]
fn all_envoys_of_all_replicas_have_one_secret() {
    let origin = Origin::start(|request| Reply::ok(seen(request)).max_age(600)).unwrap();
    let settings =
        json!({ "routes": [{"name": "identities", "path_prefix": "/ident", "isolate_authorization": true}] });
    let mut fleet = e2e::fleet::Fleet::replicated(2, settings, origin).unwrap();
    fleet.add_envoy(0).unwrap();
    fleet.add_envoy(1).unwrap();
    // An Envoy explains by where it has sent requests.
    for envoy in &fleet.envoys {
        envoy.get("/ident/1").unwrap();
    }
    let one = |fleet: &e2e::fleet::Fleet| {
        let keys = key_of_alice(&fleet.rest(0).document(ASK).ok()?);
        (keys.len() == 2 && keys[0] == keys[1] && keys[0].contains("digest:")).then(|| keys[0].clone())
    };
    let key = e2e::wait::until("one key in both", || one(&fleet)).unwrap();
    fleet.redis.as_ref().unwrap().ask(&["FLUSHALL"]).unwrap();
    fleet.controls[1].kill();
    fleet.controls[1].restart().unwrap();
    fleet.controls[1].wait_live().unwrap();
    let again = e2e::wait::until("one key in both again", || one(&fleet)).unwrap();
    assert_eq!(again, key, "a Redis that forgot it gets it back");
}
