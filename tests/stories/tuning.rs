//! What another size would do, against what it does; and the weekly maintenance.

use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

/// Requests of one run; `WHAT_IF_REQUESTS` asks for more.
fn requests() -> u64 {
    let asked = std::env::var("WHAT_IF_REQUESTS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(6_000)
}

/// A skewed choice among `keys`, and every eighth request one of a scan that never comes back.
fn load(keys: f64) -> impl Iterator<Item = String> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..requests()).map(move |at| {
        if at % 8 == 0 {
            return format!("/scan/{at}");
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
        format!("/key/{}", (keys.powf(unit) - 1.0) as u64)
    })
}

/// Hits in a hundred requests.
fn measured(stack: &Stack, keys: f64) -> f64 {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    let hits = load(keys)
        .filter(|path| connection.exchange(&Request::get(path)).unwrap().is_hit())
        .count();
    hits as f64 * 100.0 / requests() as f64
}

fn post(rest: &Rest, path: &str, body: &str) -> Value {
    let answer = rest.send(&Request::new("POST", path).body(body)).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().unwrap()
}

#[test]
fn what_is_predicted_for_a_size_is_what_it_does() {
    let keys = requests() as f64 / 3.0;
    let sizes = [10.0, 5.0, 2.5].map(|part| (keys / part) as u64);
    let origin = Origin::start(|_| Reply::ok(vec![b'x'; 500]).max_age(3_600)).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let rest = stack.rest();
    let policy = std::env::var("WHAT_IF_POLICY").unwrap_or_else(|_| "lru".to_owned());
    stack.change_settings(&json!({"eviction_policy": policy})).unwrap();
    measured(&stack, keys);
    let what_if = |size: u64| rest.document(&format!("/cache/what-if?cache_size={size}")).unwrap();
    // Reports come once a second; the last one has come when nothing changes any more.
    let mut before = 0;
    wait::until("all lookups in the prediction", || {
        let samples = what_if(sizes[0])["samples"].as_u64()?;
        let still = samples > 1_000 && samples == before;
        before = samples;
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        still.then_some(())
    })
    .unwrap();
    let predictions = sizes.map(|size| (size, what_if(size)));
    for (size, predicted) in predictions {
        let predicted = &predicted["predicted"];
        stack.change_settings(&json!({"cache_size": size})).unwrap();
        post(&rest, "/cache/purge?wait=all&timeout=10s", r#"{"all": true}"#);
        let reality = measured(&stack, keys);
        let ratio = predicted["hit_ratio"].as_f64().unwrap();
        println!("{size} entries: predicted {predicted}, measured {reality:.1}");
        assert!(
            (ratio - reality).abs() <= 2.0,
            "{size} entries: {predicted}, measured {reality}"
        );
        assert!(predicted["hit_ratio_low"].as_f64() <= Some(ratio), "{predicted}");
    }
}

#[test]
fn maintenance_drops_what_is_purged_and_recommends_from_evidence() {
    let origin = Origin::start(|request| {
        let tag = if request.path.starts_with("/old") { "old" } else { "new" };
        let reply = Reply::ok(request.path.clone()).header("surrogate-key", tag);
        match request.path.as_str() {
            // Changes every fourth time, and is asked about each time.
            "/asked" if request.header("if-none-match").is_some() && request.connection % 4 != 0 => Reply::new(304)
                .header("etag", "\"1\"")
                .header("cache-control", "no-cache"),
            "/asked" => reply.header("etag", "\"1\"").header("cache-control", "no-cache"),
            _ => reply.max_age(600),
        }
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let rest = stack.rest();
    for page in 0..30 {
        for kind in ["old", "new"] {
            stack.envoy.get(&format!("/{kind}/{page}")).unwrap();
        }
        stack.envoy.get("/asked").unwrap();
    }
    post(&rest, "/cache/purge?wait=all&timeout=10s", r#"{"tag": "old"}"#);
    let view = wait::until("the validations in the advice", || {
        let view = post(&rest, "/cache/optimize", "");
        (view["recommendation"]["ttl"].as_array()?.len() == 1).then_some(view)
    })
    .unwrap();
    let ttl = &view["recommendation"]["ttl"][0];
    assert_eq!(ttl["route"], "default", "{view}");
    assert!(ttl["validations"].as_u64() >= Some(20), "{ttl}");
    assert_eq!(view["not_answered"], json!([]));
    assert_eq!(view["applied"], false);
    let reason = view["recommendation"]["reason"].as_str().unwrap();
    assert!(reason.contains("nothing is recommended yet"), "{reason}");
    let stats = wait::until("the purged ones gone", || {
        let stats = rest.document("/cache/stats").unwrap();
        (stats["size"].as_u64()? <= 31).then_some(stats)
    })
    .unwrap();
    assert!(stats["size"].as_u64() >= Some(30), "{stats}");
    assert!(stack.envoy.get("/new/3").unwrap().is_hit());
    assert_eq!(
        post(&rest, "/cache/optimize?apply=true", "")["applied"],
        false,
        "nothing to apply"
    );
}
