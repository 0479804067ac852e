//! What operators do to the caches: look, purge, back up, restore, warm, tune; with proof that it happened everywhere.

use e2e::client::{Request, Response};
use e2e::envoy::Envoy;
use e2e::origin::{Gate, Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An origin whose content can be changed.
struct Edited {
    origin: Origin,
    edition: Arc<AtomicU64>,
}

fn edited() -> Edited {
    let edition = Arc::new(AtomicU64::new(1));
    let seen = Arc::clone(&edition);
    let origin = Origin::start(move |request| {
        let text = format!("{} edition {}", request.path, seen.load(Ordering::SeqCst));
        let tag = if request.path.starts_with("/shop") {
            "shop"
        } else {
            "other"
        };
        Reply::ok(text)
            .max_age(600)
            .header("surrogate-key", tag)
            .header("content-type", "text/plain; charset=utf-8")
    });
    Edited {
        origin: origin.unwrap(),
        edition,
    }
}

fn post(rest: &Rest, path: &str, body: impl Into<Vec<u8>>) -> Response {
    rest.send(&Request::new("POST", path).body(body)).unwrap()
}

fn purge(rest: &Rest, what: &Value) -> Value {
    let answer = post(rest, "/cache/purge?wait=all&timeout=10s", what.to_string());
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    answer.json().unwrap()
}

fn fill(envoy: &Envoy, paths: &[&str]) {
    for path in paths {
        envoy.get(path).unwrap();
        assert!(envoy.get(path).unwrap().is_hit(), "{path}");
    }
}

#[test]
fn a_purge_of_each_kind_is_in_force_on_every_envoy_when_the_receipt_says_so() {
    let Edited { origin, edition } = edited();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let second = stack.envoy_beside("second").unwrap();
    let envoys = [&stack.envoy, &second];
    let paths = ["/shop/1", "/shop/2", "/about"];
    for (what, gone) in [
        (json!({"url": "http://api.example/shop/1"}), &paths[..1]),
        (json!({"prefix": "api.example/shop/"}), &paths[..2]),
        (json!({"tag": "shop"}), &paths[..2]),
        (json!({"tags": ["shop", "other"]}), &paths[..]),
        (json!({"host": "API.example"}), &paths[..]),
        (json!({"all": true}), &paths[..]),
    ] {
        for envoy in envoys {
            paths.iter().for_each(|path| drop(envoy.get(path).unwrap()));
            fill(envoy, &paths);
        }
        edition.fetch_add(1, Ordering::SeqCst);
        let receipt = purge(&stack.rest(), &what);
        assert_eq!(
            (&receipt["complete"], &receipt["late"]),
            (&json!(true), &json!([])),
            "{receipt}"
        );
        assert_eq!(receipt["applied"].as_array().unwrap().len(), 2, "{receipt}");
        for envoy in envoys {
            for path in paths {
                let answer = envoy.get(path).unwrap();
                assert_eq!(
                    answer.is_hit(),
                    !gone.contains(&path),
                    "{what} {path}: {}",
                    answer.text()
                );
            }
        }
    }
    let stats = wait::until("the purges in the figures", || {
        let stats = stack.rest().document("/cache/invalidation-stats").unwrap();
        (stats["by_cause"]["purge-all"].as_u64()? >= 2).then_some(stats)
    })
    .unwrap();
    // One purge of a tag and one of two tags, on two Envoys.
    assert_eq!(stats["by_cause"]["purge-tag"], 6, "{stats}");
    assert!(stats["invalidation_rate"].as_f64() > Some(0.0), "{stats}");
}

/// A response is purged while its upstream is asked whether it still holds, and then the upstream fails.
#[test]
fn what_was_purged_is_not_served_in_place_of_an_error_that_comes_after() {
    let origin = Origin::start(|_| Reply::ok("old").header("cache-control", "max-age=1, stale-if-error=600")).unwrap();
    let plan = Plan {
        settings: json!({"breaker": {"enabled": false}}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    stack.wait_connected().unwrap();
    stack.envoy.get("/page").unwrap();
    let rest = stack.rest();
    for (purge, status) in [
        (None, 200),
        (Some(json!({"url": "http://other.example/page"})), 200),
        (Some(json!({"all": true})), 500),
    ] {
        wait::until("a stale response", || {
            let asked = Request::get("/page").header("cache-control", "only-if-cached, max-stale=0");
            (stack.envoy.fetch(&asked).unwrap().status == 504).then_some(())
        })
        .unwrap();
        let (gate, asked) = (Gate::default(), stack.origin.total());
        let held = gate.clone();
        stack.origin.script(move |_| Reply::new(500).behind(&held));
        std::thread::scope(|threads| {
            let client = threads.spawn(|| stack.envoy.get("/page").unwrap());
            wait::until("the request at the origin", || {
                (stack.origin.total() > asked).then_some(())
            })
            .unwrap();
            if let Some(purge) = &purge {
                let done = post(&rest, "/cache/purge?wait=all&timeout=20s", purge.to_string());
                assert_eq!(done.status, 200, "{}", done.text());
            }
            gate.open();
            let answer = client.join().unwrap();
            assert_eq!(answer.status, status, "{purge:?}: {}", answer.text());
        });
    }
}

#[test]
fn a_soft_purge_makes_stale_and_a_wrong_purge_changes_nothing() {
    let Edited { origin, .. } = edited();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy, &["/shop/1"]);
    for wrong in [
        json!({}),
        json!({"url": "/shop/1"}),
        json!({"host": "a/b"}),
        json!({"everything": true}),
    ] {
        let answer = post(&rest, "/cache/purge", wrong.to_string());
        assert!(matches!(answer.status, 400 | 422), "{wrong}: {}", answer.text());
    }
    assert!(stack.envoy.get("/shop/1").unwrap().is_hit());

    let keyed = |what: Value| {
        let request = Request::new("POST", "/cache/purge?wait=all").header("idempotency-key", "release-7");
        rest.send(&request.body(what.to_string())).unwrap()
    };
    let first = keyed(json!({"tag": "shop", "soft": true, "reason": "a release"}));
    assert_eq!(first.status, 200, "{}", first.text());
    let soft = stack.envoy.get("/shop/1").unwrap();
    assert!(soft.cache_status().contains("fwd=stale"), "{}", soft.cache_status());
    let again = keyed(json!({"tag": "shop", "soft": true}));
    assert_eq!(again.json().unwrap()["id"], first.json().unwrap()["id"]);
    assert_eq!(
        keyed(json!({"all": true})).json().unwrap()["code"],
        "idempotency_key_reused"
    );
    let listed = rest.document("/cache/purges").unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed[0]["reason"], &listed[0]["applied_by"]),
        (&json!("a release"), &json!(1))
    );

    let many: Vec<String> = (0..64).map(|at| format!("tag-{at}")).collect();
    let refused = (0..200).find_map(|_| {
        let answer = post(&rest, "/cache/purge", json!({"tags": many}).to_string());
        (answer.status == 429).then_some(answer)
    });
    assert!(refused.unwrap().header("retry-after").is_some());
}

#[test]
fn who_was_stopped_during_a_purge_never_serves_what_was_purged() {
    let Edited { origin, edition } = edited();
    let mut stack = Stack::start(&Plan::default(), origin).unwrap();
    let second = stack.envoy_beside("second").unwrap();
    let paths = ["/shop/1", "/shop/2", "/about"];
    fill(&stack.envoy, &paths);
    fill(&second, &paths);

    second.freeze();
    edition.fetch_add(1, Ordering::SeqCst);
    let asked = post(&stack.rest(), "/cache/purge", r#"{"tag": "shop"}"#);
    assert_eq!(asked.status, 202, "{}", asked.text());
    let id = asked.json().unwrap()["id"].as_str().unwrap().to_owned();
    let receipt = || stack.rest().document(&format!("/cache/purges/{id}")).unwrap();
    wait::until("the purge on the Envoy that runs", || {
        (receipt()["applied"].as_array()?.len() == 1).then_some(())
    })
    .unwrap();
    // Long enough for the filter to know that it stood still; requests wait at its door meanwhile.
    let asking = std::thread::scope(|scope| {
        let clients: Vec<_> = paths
            .iter()
            .flat_map(|path| [*path; 4])
            .map(|path| (path, scope.spawn(|| second.get(path).unwrap())))
            .collect();
        std::thread::sleep(std::time::Duration::from_secs(6));
        second.thaw();
        clients
            .into_iter()
            .map(|(path, client)| (path, client.join().unwrap()))
            .collect::<Vec<_>>()
    });
    for (path, answer) in asking {
        if path.starts_with("/shop") {
            assert!(
                answer.text().ends_with("edition 2"),
                "{path}: {} {answer:?}",
                answer.text()
            );
        }
    }
    wait::until("the receipt of the one that was stopped", || {
        (receipt()["complete"] == true).then_some(())
    })
    .unwrap();
    assert!(second.get("/shop/2").unwrap().text().ends_with("edition 2"));
    wait::until("hits again", || second.get("/shop/2").unwrap().is_hit().then_some(())).unwrap();

    // A purge that a dead control plane has accepted is not forgotten, nor done twice.
    stack.control().kill();
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    stack.wait_connected().unwrap();
    let listed = stack.rest().document("/cache/purges").unwrap();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["applied_by"]),
        (&json!(id), &json!(2)),
        "{listed}"
    );
    assert!(second.get("/shop/2").unwrap().is_hit());
    assert!(stack.envoy.get("/about").unwrap().is_hit());
}

#[test]
fn purging_on_the_data_path_is_for_listed_sources() {
    let Edited { origin, .. } = edited();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let ask = |path: &str| stack.envoy.fetch(&Request::new("PURGE", path)).unwrap();
    let second = stack.envoy_beside("second").unwrap();
    for envoy in [&stack.envoy, &second] {
        fill(envoy, &["/shop/1", "/shop/2"]);
    }
    stack
        .change_settings(&json!({"purge_sources": ["10.0.0.0/8"]}))
        .unwrap();
    let refused = ask("/shop/1");
    assert!(refused.status >= 400, "{}", refused.status);
    assert!(stack.envoy.get("/shop/1").unwrap().is_hit());
    stack
        .change_settings(&json!({"purge_sources": ["127.0.0.0/8"]}))
        .unwrap();
    let purged = ask("/shop/1");
    assert_eq!(purged.status, 200, "{}", purged.text());
    assert!(!stack.envoy.get("/shop/1").unwrap().is_hit());
    assert!(stack.envoy.get("/shop/2").unwrap().is_hit());

    // The control plane has it in its log, and every other Envoy does it.
    let receipt = wait::until("the purge done by all", || {
        let listed = stack.rest().document("/cache/purges").ok()?;
        let id = listed[0]["id"].as_str()?;
        let receipt = stack.rest().document(&format!("/cache/purges/{id}")).ok()?;
        (receipt["complete"] == true).then_some(receipt)
    })
    .unwrap();
    assert_eq!(receipt["by"], "127.0.0.1", "{receipt}");
    assert_eq!(receipt["targets"][0]["value"], "http://api.example/shop/1", "{receipt}");
    assert_eq!(receipt["applied"].as_array().map(Vec::len), Some(2), "{receipt}");
    assert!(
        receipt["reason"].as_str().unwrap().starts_with("PURGE at "),
        "{receipt}"
    );
    assert!(!second.get("/shop/1").unwrap().is_hit());
    assert!(second.get("/shop/2").unwrap().is_hit());
    let refused = (0..500).map(|_| ask("/shop/1")).find(|answer| answer.status == 429);
    assert!(refused.unwrap().header("retry-after").is_some());
}

#[test]
fn the_figures_name_types_sizes_keys_and_the_hits_that_were_lost() {
    let origin = Origin::start(|request| match request.path.as_str() {
        "/secret" => Reply::ok("s").header("cache-control", "no-store"),
        "/large" => Reply::ok(vec![b'x'; 50_000])
            .max_age(600)
            .header("content-type", "image/png"),
        _ => Reply::ok("page")
            .max_age(600)
            .header("content-type", "text/html; charset=utf-8"),
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let mut connection = stack.envoy.connection_per_worker().unwrap().remove(0);
    for _ in 0..20 {
        for path in ["/secret", "/large", "/popular", "/popular"] {
            connection.exchange(&Request::get(path)).unwrap();
        }
    }
    let stats = wait::until("the figures", || {
        let stats = stack.rest().document("/cache/stats").unwrap();
        (stats["lost_hits"][0]["count"].as_u64()? >= 19).then_some(stats)
    })
    .unwrap();
    assert_eq!(stats["lost_hits"][0]["reason"], "no-store", "{stats}");
    assert!(stats["lost_hits"][0]["a_hit_if"].as_str().unwrap().contains("no-store"));
    assert_eq!(stats["by_content_type"]["text/html"]["entries"], 1, "{stats}");
    assert_eq!(stats["by_size"]["under_100KB"]["entries"], 1, "{stats}");
    let classes = stats["by_age"].as_object().unwrap().values();
    assert_eq!(classes.map(|class| class["entries"].as_u64().unwrap()).sum::<u64>(), 2);
    let top = |measure: &str| stats["top_keys"][measure][0]["url"].clone();
    assert_eq!(top("hits"), "http://api.example/popular", "{stats}");
    assert_eq!(top("bytes"), "http://api.example/large", "{stats}");
    assert_eq!(stats["routes"][0]["route"], "default", "{stats}");
    assert!(stats["routes"][0]["hit_ratio"].as_f64() > Some(50.0), "{stats}");
    assert_eq!(
        (&stats["size"], &stats["envoys"][0]["size"]),
        (&json!(2), &json!(2)),
        "{stats}"
    );
}
