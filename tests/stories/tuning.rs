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

/// Hits in a hundred requests, and their bytes in a hundred.
fn measured(stack: &Stack, keys: f64) -> (f64, f64) {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    let (mut hits, mut hit_bytes, mut bytes) = (0, 0, 0);
    for path in load(keys) {
        let answer = connection.exchange(&Request::get(&path)).unwrap();
        bytes += answer.body.len();
        if answer.is_hit() {
            hits += 1;
            hit_bytes += answer.body.len();
        }
    }
    (
        f64::from(hits) * 100.0 / requests() as f64,
        hit_bytes as f64 * 100.0 / bytes as f64,
    )
}

fn post(rest: &Rest, path: &str, body: &str) -> Value {
    let answer = rest.send(&Request::new("POST", path).body(body)).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json().unwrap()
}

/// Before an origin some of whose pages are ten times as large as others.
fn with_cache(settings: &Value) -> Stack {
    let origin = Origin::start(|request| {
        let large = request.path.ends_with('7');
        Reply::ok(vec![b'x'; if large { 5_000 } else { 500 }]).max_age(3_600)
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    stack.change_settings(settings).unwrap();
    stack
}

/// What is predicted for three sizes, and what they do then.
fn predicted_and_measured(policy: &str) {
    let keys = requests() as f64 / 3.0;
    let sizes = [10.0, 5.0, 2.5].map(|part| (keys / part) as u64);
    let stack = with_cache(&json!({"eviction_policy": policy}));
    let rest = stack.rest();
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
    for (size, answer) in predictions {
        let predicted = &answer["predicted"];
        assert_eq!(predicted["policy"], policy);
        let other = with_cache(&json!({"eviction_policy": policy, "cache_size": size}));
        let (of_requests, of_bytes) = measured(&other, keys);
        println!("{size} entries: predicted {predicted}, measured {of_requests:.1} and {of_bytes:.1}");
        let figure = |name: &str| predicted[name].as_f64().unwrap();
        assert!(
            (figure("hit_ratio") - of_requests).abs() <= 2.0,
            "{size} entries: {predicted}, measured {of_requests}"
        );
        // A few large pages are many bytes: the interval is what is promised of them.
        let error = (figure("byte_hit_ratio") - of_bytes).abs();
        let promised = figure("byte_hit_ratio_high") - figure("byte_hit_ratio");
        assert!(
            error <= promised.max(2.0),
            "{size} entries: {predicted}, measured {of_bytes}"
        );
        assert!(figure("hit_ratio_low") < figure("hit_ratio") && figure("hit_ratio") < figure("hit_ratio_high"));
        assert!(figure("origin_requests_per_second_low") <= figure("origin_requests_per_second_high"));
    }
}

#[test]
fn what_is_predicted_for_a_size_is_what_it_does() {
    predicted_and_measured("s3_fifo");
}

#[test]
fn what_is_predicted_under_another_policy_is_what_it_does() {
    predicted_and_measured(&std::env::var("WHAT_IF_POLICY").unwrap_or_else(|_| "lru".to_owned()));
}

/// How many of the slow pages are still stored after a scan of quick ones, and what the hits of all saved the origin, milliseconds.
fn slow_pages_left(policy: &str) -> (usize, u64) {
    let origin = Origin::start(|request| {
        if request.path.starts_with("/slow") {
            std::thread::sleep(std::time::Duration::from_millis(60));
        }
        Reply::ok(request.path.clone()).max_age(3_600)
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    stack
        .change_settings(&json!({"eviction_policy": policy, "cache_size": 60}))
        .unwrap();
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    let mut ask = |path: String| connection.exchange(&Request::get(&path)).unwrap().is_hit();
    let slow = 20;
    (0..slow).for_each(|page| assert!(!ask(format!("/slow/{page}"))));
    (0..600).for_each(|page| assert!(!ask(format!("/quick/{page}"))));
    let left = (0..slow).filter(|page| ask(format!("/slow/{page}"))).count();
    let counted = wait::until("the hits counted", || {
        let metrics = stack.rest().get("/metrics").ok()?.text();
        let of = |name: &str| {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>()
        };
        let hits = of("api_optimizer_cache_operations_total{operation=\"hit\"");
        (hits as usize == left).then(|| (1_000.0 * of("api_optimizer_cache_saved_seconds_total")) as u64)
    });
    (left, counted.unwrap())
}

#[test]
fn memory_goes_to_what_is_slow_where_the_policy_says_so() {
    let (left, saved_ms) = slow_pages_left("gdsf");
    assert!(left >= 16, "{left} of 20");
    assert!(saved_ms >= 50 * left as u64, "{left} hits saved {saved_ms} ms");
    let (left, _) = slow_pages_left("lru");
    assert!(left <= 4, "{left} of 20");
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
            "/asked" => reply
                .header("content-type", "text/plain")
                .header("etag", "\"1\"")
                .header("cache-control", "no-cache"),
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

#[test]
fn a_recommendation_is_put_into_force_only_when_asked() {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(3_600)).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let rest = stack.rest();
    stack.change_settings(&json!({"cache_size": 50_000})).unwrap();
    // Three hundred pages, all of them asked for again and again.
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    for at in 0..3_000 {
        connection
            .exchange(&Request::get(&format!("/page/{}", at % 300)))
            .unwrap();
    }
    let shown = wait::until("a recommendation", || {
        let view = post(&rest, "/cache/optimize", "");
        view["recommendation"]["knee"].is_u64().then_some(view)
    })
    .unwrap();
    let (knee, size) = (&shown["recommendation"]["knee"], &shown["recommendation"]["cache_size"]);
    assert!((300..=600).contains(&knee.as_u64().unwrap()), "{shown}");
    assert_eq!((knee, &shown["applied"]), (size, &json!(false)), "{shown}");
    let reason = shown["recommendation"]["reason"].as_str().unwrap();
    assert!(reason.contains("50000 ->") && reason.contains("beyond"), "{reason}");
    assert_eq!(
        rest.document("/settings").unwrap()["cache_size"],
        50_000,
        "nothing was changed"
    );

    let applied = post(&rest, "/cache/optimize?apply=true", "");
    assert_eq!(applied["applied"], true, "{applied}");
    let size = &applied["recommendation"]["cache_size"];
    assert_eq!(&rest.document("/settings").unwrap()["cache_size"], size);
    let history = rest.document("/settings/history").unwrap();
    let by_optimize = |revision: &&Value| revision["door"] == "optimize";
    let revision = history.as_array().unwrap().iter().find(by_optimize).unwrap();
    assert_eq!(revision["reason"], applied["recommendation"]["reason"], "{history}");
}
