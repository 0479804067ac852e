//! A purge finds what it names, however the request and the purge were spelt, and says how much it has found.

use crate::shared_tier;
use e2e::client::{Request, Response};
use e2e::envoy::Envoy;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An origin that numbers its answers, so that an old one is told from a new one.
fn numbered() -> Origin {
    let number = Arc::new(AtomicU64::new(0));
    let origin = Origin::start(move |request| {
        let text = format!("number {}", number.fetch_add(1, Ordering::SeqCst));
        if request.path.starts_with("/products") {
            Reply::ok(text)
                .max_age(600)
                .header("cache-groups", r#""products""#)
                .header("surrogate-key", "shop")
        } else {
            Reply::ok(text).max_age(600)
        }
    });
    origin.unwrap()
}

fn ask(host: &str, path: &str) -> Request {
    Request::get(path).header("host", host)
}

fn fetched(envoy: &Envoy, request: &Request) -> Response {
    let answer = envoy.fetch(request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Has it stored, and says with what content.
fn stored(envoy: &Envoy, request: &Request) -> String {
    let text = fetched(envoy, request).text();
    let again = fetched(envoy, request);
    assert!(again.is_hit(), "{}", again.cache_status());
    assert_eq!(again.text(), text);
    text
}

fn post(rest: &Rest, body: &Value) -> Response {
    let request = Request::new("POST", "/cache/purge?wait=all&timeout=20s");
    rest.send(&request.body(body.to_string())).unwrap()
}

fn purge(rest: &Rest, body: &Value) -> Value {
    let answer = post(rest, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json().unwrap()
}

/// Host and path of a request, and a purge that means it.
fn spellings() -> Vec<(&'static str, &'static str, Value)> {
    let url = |url: &str| json!({ "url": url });
    vec![
        ("shop.example", "/caf%c3%a9", url("http://shop.example/caf%C3%A9")),
        ("shop.example", "/caf%C3%A9", url("http://shop.example/café")),
        ("shop.example", "/caf%C3%A9", url("http://shop.example/caf%c3%a9")),
        (
            "shop.example",
            "/%d0%bf?q=%c3%a9",
            url("http://shop.example/%D0%BF?q=é"),
        ),
        ("shop.example", "/~u", url("http://shop.example/%7Eu")),
        ("shop.example", "/pg", url("http://shop.example/%70g")),
        ("shop.example", "/a/../b", url("http://shop.example/a/../b")),
        ("shop.example", "/a/../b", url("http://shop.example/b")),
        ("shop.example", "/a/b", url("http://shop.example//a/./x/%2e%2e/b")),
        ("shop.example", "/tls", url("https://shop.example/tls")),
        ("shop.example", "/tls", url("HTTPS://Shop.Example:443/tls#top")),
        ("shop.example", "/port", url("http://u:p@shop.example.:80/port")),
        ("shop.example", "/empty?", url("http://shop.example/empty")),
        ("shop.example", "/list?a[]=1", url("http://shop.example/list?a%5b%5D=1")),
        ("SHOP.example.:80", "/dot", url("http://shop.example/dot")),
        ("shop.example", "/dot", url("http://shop.example.:80/dot")),
        ("shop.example", "/host", json!({"host": "shop.example:80"})),
        ("shop.example:80", "/host", json!({"host": "SHOP.example."})),
        ("shop.example.", "/host", json!({"host": "shop.example"})),
        (
            "shop.example",
            "/prefix/1",
            json!({"prefix": "http://shop.example:80/"}),
        ),
        ("shop.example", "/prefix/1", json!({"prefix": "HTTP://shop.example:80"})),
        (
            "shop.example",
            "/prefix/1",
            json!({"prefix": "Shop.EXAMPLE./%70refix/"}),
        ),
        (
            "shop.example:80",
            "/caf%c3%a9/1",
            json!({"prefix": "shop.example/caf%C3%A"}),
        ),
        ("shop.example", "/caf%c3%a9/1", json!({"prefix": "/café/"})),
        ("shop.example:8080", "/own", url("https://shop.example:8080/own")),
        ("shop.example", "/products/1", json!({"tag": "products"})),
        ("shop.example", "/products/1", json!({"tag": "group:products"})),
        ("shop.example", "/products/1", json!({"tags": ["none", "shop"]})),
    ]
}

#[test]
fn every_spelling_of_a_purge_finds_every_spelling_of_the_request() {
    let stack = Stack::start(&Plan::default(), numbered()).unwrap();
    let rest = stack.rest();
    let kept = ask("other.example", "/kept");
    let text = stored(&stack.envoy, &kept);
    for (host, path, what) in spellings() {
        // An Envoy counts 16 purges a second; here are two.
        std::thread::sleep(Duration::from_millis(150));
        let request = ask(host, path);
        let before = stored(&stack.envoy, &request);
        let receipt = purge(&rest, &what);
        assert_eq!(receipt["matched"], 1, "{host}{path} by {what}: {receipt}");
        assert_eq!(receipt["hint"], Value::Null, "{receipt}");
        let after = fetched(&stack.envoy, &request);
        assert!(!after.is_hit(), "{host}{path} by {what}: {}", after.cache_status());
        assert_ne!(after.text(), before);
        purge(&rest, &json!({"host": host}));
    }
    let answer = fetched(&stack.envoy, &kept);
    assert!(answer.is_hit(), "{}", answer.cache_status());
    assert_eq!(answer.text(), text);
}

#[test]
fn what_cannot_be_a_url_is_refused_and_says_why() {
    let stack = Stack::start(&Plan::default(), numbered()).unwrap();
    for (wrong, pointer) in [
        (json!({"url": "http://shop.example/a b"}), "/url"),
        (json!({"url": "http://shop.example/a\tb"}), "/url"),
        (json!({"url": "http://café.example/"}), "/url"),
        (json!({"host": "café.example"}), "/host"),
        (json!({"host": "http://shop.example"}), "/host"),
        (json!({"prefix": "shop.example"}), "/prefix"),
        (json!({"prefix": "shop.example/a b"}), "/prefix"),
        (json!({"tag": "a b"}), "/tag"),
    ] {
        let answer = post(&stack.rest(), &wrong);
        assert_eq!(answer.status, 422, "{wrong}: {}", answer.text());
        assert!(answer.text().contains(&format!("\"{pointer}\"")), "{}", answer.text());
    }
}

#[test]
fn an_unsafe_method_and_a_purge_on_the_data_path_reach_other_spellings() {
    let plan = Plan {
        settings: json!({"purge_sources": ["127.0.0.0/8"]}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, numbered()).unwrap();
    stack
        .change_settings(&json!({"purge_sources": ["127.0.0.0/8"]}))
        .unwrap();
    let request = ask("shop.example", "/caf%C3%A9");
    let before = stored(&stack.envoy, &request);
    let change = Request::new("POST", "/caf%c3%a9")
        .header("host", "shop.example.:80")
        .body("x");
    fetched(&stack.envoy, &change);
    let after = wait::until("another answer in every worker", || {
        Some(fetched(&stack.envoy, &request).text()).filter(|text| *text != before)
    })
    .unwrap();

    let by_client = Request::new("PURGE", "/caf%c3%a9").header("host", "SHOP.example:80");
    let purged = fetched(&stack.envoy, &by_client);
    assert_eq!(purged.number("x-purge-matched"), Some(1), "{}", purged.text());
    let third = fetched(&stack.envoy, &request);
    assert!(!third.is_hit() && third.text() != after, "{}", third.cache_status());
    let nothing = Request::new("PURGE", "/nothing").header("host", "shop.example");
    assert_eq!(fetched(&stack.envoy, &nothing).number("x-purge-matched"), Some(0));
    let receipt = wait::until("the first one in the log", || {
        let listed = stack.rest().document("/cache/purges").ok()?;
        let own = listed
            .as_array()?
            .iter()
            .find(|purge| purge["targets"].to_string().contains("caf"))?;
        stack
            .rest()
            .document(&format!("/cache/purges/{}", own["id"].as_str()?))
            .ok()
    })
    .unwrap();
    assert_eq!(receipt["matched"], 1, "{receipt}");
}

#[test]
fn receipts_count_on_every_envoy_and_say_when_nothing_matched() {
    let stack = Stack::start(&Plan::default(), numbered()).unwrap();
    let second = stack.envoy_beside("second").unwrap();
    let rest = stack.rest();
    for envoy in [&stack.envoy, &second] {
        for number in 0..6 {
            stored(envoy, &ask("shop.example", &format!("/products/{number}")));
        }
    }
    stored(&second, &ask("shop.example", "/products/7"));
    let explained = rest
        .document("/cache/explain?url=https://shop.example.:80/%2570roducts/1")
        .unwrap();
    for envoy in explained["envoys"].as_array().unwrap() {
        let found = &envoy["explanation"]["same_url"];
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{explained}");
        assert!(
            found[0].as_str().unwrap().starts_with("http://shop.example/products/1"),
            "{explained}"
        );
    }

    let nothing = purge(&rest, &json!({"url": "http://shop.example:8080/products/1"}));
    assert_eq!(
        (&nothing["matched"], &nothing["complete"]),
        (&json!(0), &json!(true)),
        "{nothing}"
    );
    assert!(
        nothing["hint"].as_str().unwrap().contains("Nothing stored"),
        "{nothing}"
    );

    // Two targets that mean the same count once; what is purged already is not there any more.
    let receipt = purge(
        &rest,
        &json!({"tags": ["products", "shop"], "url": "http://shop.example/products/1"}),
    );
    assert_eq!(receipt["matched"], 13, "{receipt}");
    let mut each: Vec<u64> = receipt["applied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|applied| applied["matched"].as_u64().unwrap())
        .collect();
    each.sort_unstable();
    assert_eq!(each, [6, 7], "{receipt}");
    assert_eq!(purge(&rest, &json!({"tag": "products"}))["matched"], 0);

    // What became stale is still there.
    stored(&second, &ask("shop.example", "/products/7"));
    let soft = json!({"prefix": "shop.example/products/", "soft": true});
    assert_eq!(purge(&rest, &soft)["matched"], 1);
    assert_eq!(purge(&rest, &soft)["matched"], 1);
}

#[test]
fn a_large_cache_is_counted_in_steps() {
    const ENTRIES: u64 = 1_500;
    let stack = Stack::start(&Plan::default(), numbered()).unwrap();
    let rest = stack.rest();
    let mut connections = stack.envoy.connection_per_worker().unwrap();
    let connection = &mut connections[0];
    for number in 0..ENTRIES {
        let request = ask("shop.example", &format!("/many/{number}"));
        assert_eq!(connection.exchange(&request).unwrap().status, 200);
    }
    let counted = |receipt: &Value| {
        let path = format!("/cache/purges/{}", receipt["id"].as_str().unwrap());
        wait::until("all counted", || {
            let receipt = rest.document(&path).ok()?;
            receipt["matched"].as_u64()
        })
        .unwrap()
    };
    let receipt = purge(&rest, &json!({"prefix": "shop.example/many/"}));
    assert!(receipt["matched_at_least"].as_u64() >= Some(1), "{receipt}");
    assert_eq!(counted(&receipt), ENTRIES);
    let again = purge(&rest, &json!({"prefix": "shop.example/many/"}));
    assert_eq!(counted(&again), 0);
}

#[test]
fn the_shared_tier_reads_urls_as_the_envoys_do() {
    let settings = json!({"shared_tier": {"enabled": true, "deadline": "1s", "coalesce_wait": "10s"}});
    let mut fleet = Fleet::start(false, 1, settings, numbered()).unwrap();
    fleet.add_envoy(0).unwrap();
    fleet.add_envoy(0).unwrap();
    shared_tier::tier_serves(&fleet);
    let mut number = 0;
    for (host, path, what) in spellings() {
        // Found in the tier by the other Envoy when it is not purged: so it was there.
        for purged in [false, true] {
            number += 1;
            let separator = if path.contains('?') { "&" } else { "?" };
            let unique = format!("{path}{separator}n={number}");
            let what = match what["url"].as_str() {
                Some(url) => {
                    let url = url.split('#').next().unwrap();
                    let separator = if path.contains('?') && url.contains('?') {
                        "&"
                    } else {
                        "?"
                    };
                    json!({"url": format!("{url}{separator}n={number}")})
                }
                None => what.clone(),
            };
            let request = ask(host, &unique);
            let before = fleet.tier_count("stores");
            let text = fetched(&fleet.envoys[0], &request).text();
            wait::until("the offer taken", || {
                (fleet.tier_count("stores") > before).then_some(())
            })
            .unwrap();
            if purged {
                purge(&fleet.rest(0), &what);
            }
            let other = fetched(&fleet.envoys[1], &request);
            assert_eq!(
                shared_tier::from_tier(&other),
                !purged,
                "{host}{unique} by {what}: {}",
                other.cache_status()
            );
            assert_eq!(other.text() == text, !purged, "{host}{unique} by {what}");
        }
    }
}
