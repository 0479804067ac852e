//! Fields that tell the origin another URL than the request's own, and origins that believe them.

use e2e::client::{Request, Response};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use serde_json::json;

/// An origin that builds its links from whatever it is told, as frameworks behind a proxy do.
fn stack() -> Stack {
    let origin = Origin::start(|request| {
        let told = request.fields.iter().filter(|(name, _)| {
            let name = name.to_ascii_lowercase().replace('_', "-");
            name.starts_with("x-") && !name.starts_with("x-envoy") && name != "x-request-id"
                || matches!(name.as_str(), "forwarded" | "front-end-https")
        });
        let told: Vec<String> = told.map(|(name, value)| format!("{name}: {value}")).collect();
        Reply::ok(format!("{} {}", request.path, told.join(", "))).max_age(600)
    });
    Stack::start(&Plan::default(), origin.unwrap()).unwrap()
}

fn ask(stack: &Stack, path: &str, field: Option<(&str, &str)>) -> Response {
    let request = Request::get(path).header("host", "shop.example");
    let request = match field {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    stack.envoy.fetch(&request).unwrap()
}

#[test]
fn nobody_gets_a_page_made_for_another_url() {
    let stack = stack();
    for (number, (name, value)) in [
        ("x-forwarded-host", "evil.example"),
        ("x_forwarded_host", "evil.example"),
        ("x-host", "evil.example"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-forwarded-prefix", "//evil.example"),
        ("x-forwarded-scheme", "nothttps"),
        ("x-forwarded-port", "4443"),
        ("front-end-https", "on"),
        ("forwarded", "for=10.0.0.1;host=evil.example"),
        ("forwarded", "for=\"10.0.0.1;host=evil.example"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/page/{number}");
        for _ in 0..2 {
            // The shipped configuration refuses names with an underscore.
            let wanted = if name.contains('_') { 400 } else { 200 };
            assert_eq!(ask(&stack, &path, Some((name, value))).status, wanted, "{name}");
        }
        let plain = ask(&stack, &path, None);
        let seen = String::from_utf8_lossy(&plain.body).into_owned();
        assert!(!plain.is_hit() && !seen.contains(value), "{name}: {value}: {seen}");
        assert!(ask(&stack, &path, None).is_hit(), "{name}");
        // Whoever sends the same, as a proxy in front does with each request, shares it.
        let same = ask(&stack, &path, Some((name, value)));
        assert!(same.is_hit() || same.status == 400, "{name}: {value}");
    }
    // The client's address tells no URL: with it in the key nobody would share.
    for (name, value) in [("forwarded", "for=10.0.0.1"), ("x-forwarded-for", "10.0.0.1")] {
        let path = format!("/shared/{name}");
        ask(&stack, &path, Some((name, value)));
        assert!(ask(&stack, &path, Some((name, "for=10.0.0.2"))).is_hit(), "{name}");
    }
}

#[test]
fn a_purge_of_a_url_finds_its_pages_for_other_urls() {
    let stack = stack();
    let host = Some(("x-forwarded-host", "other.example"));
    for field in [host, None] {
        ask(&stack, "/purged", field);
        assert!(ask(&stack, "/purged", field).is_hit());
    }
    let url = "http://shop.example/purged";
    let purge = Request::new("POST", "/cache/purge?wait=all&timeout=20s").body(json!({ "url": url }).to_string());
    let receipt = stack.rest().send(&purge).unwrap();
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    for field in [host, None] {
        assert!(!ask(&stack, "/purged", field).is_hit(), "{field:?}");
    }
}
