//! REST, ConfigMap and files: one truth, and of two who race one wins.

use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

fn stack() -> Stack {
    Stack::start(&Plan::default(), Origin::start(|_| Reply::ok("content")).unwrap()).unwrap()
}

fn send(stack: &Stack, request: &Request) -> (u16, Value) {
    let answer = stack.rest().send(request).unwrap();
    (answer.status, answer.json().unwrap())
}

fn patch(path: &str, body: &str) -> Request {
    Request::new("PATCH", path)
        .header("content-type", "application/json-patch+json")
        .body(body)
}

#[test]
fn the_runbooks_spellings_are_taken_and_rounding_is_told() {
    let stack = stack();
    for (path, given, meant) in [
        ("/data/cache_size", "50", 50),
        ("/cache_size", "1200.0", 1200),
        ("/data/cache_size", "1201.2", 1201),
    ] {
        let body = json!([{"op": "replace", "path": path, "value": given}]).to_string();
        let (status, answer) = send(&stack, &patch("/settings?dry_run=true", &body));
        assert_eq!(
            (status, &answer["settings"]["cache_size"]),
            (200, &json!(meant)),
            "{answer}"
        );
        let told = answer["notices"].as_array().unwrap();
        assert_eq!(told.len(), usize::from(given == "1201.2"), "{answer}");
    }
    let text = r#"[{"op":"replace","path":"/data/cache_size","value":"1201.2"},{"op":"add","path":"/data/default_ttl","value":"15m"},
        {"op":"replace","path":"/data/breaker.open_wait","value":"1h30m"}]"#;
    let (status, answer) = send(&stack, &patch("/settings?reason=runbook", text));
    assert_eq!(
        status, 422,
        "an hour and a half is above the ceiling of open_wait: {answer}"
    );
    let (status, answer) = send(
        &stack,
        &patch("/settings?reason=runbook", &text.replace("1h30m", "1500ms")),
    );
    assert_eq!(status, 200, "{answer}");
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(
        (
            &settings["cache_size"],
            &settings["default_ttl"],
            &settings["breaker"]["open_wait"]
        ),
        (&json!(1201), &json!("15m"), &json!("1500ms"))
    );
    let last = stack.rest().document("/settings/history/2").unwrap();
    assert_eq!(
        (&last["reason"], &last["who"], &last["door"]),
        (&json!("runbook"), &json!("127.0.0.1"), &json!("rest")),
        "{last}"
    );
    let paths: Vec<&str> = last["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|change| change["path"].as_str())
        .collect();
    assert_eq!(paths, ["/breaker/open_wait", "/cache_size", "/default_ttl"]);
    assert_eq!(last["settings"], settings);
}

#[test]
fn the_history_is_kept_and_can_be_taken_out_and_taken_back() {
    let stack = stack();
    for size in 1..=5 {
        stack.change_settings(&json!({"cache_size": size})).unwrap();
    }
    let (status, answer) = send(
        &stack,
        &Request::new("POST", "/settings/rollback?dry_run=true").body(r#"{"revision": 3}"#),
    );
    assert_eq!((status, &answer["changes"][0]["after"]), (200, &json!(2)), "{answer}");
    let (status, _) = send(
        &stack,
        &Request::new("POST", "/settings/rollback?wait=all&timeout=10s").body(r#"{"revision": 3}"#),
    );
    assert_eq!(status, 200);
    let (status, _) = send(
        &stack,
        &Request::new("POST", "/settings/rollback").body(r#"{"revision": 333}"#),
    );
    assert_eq!(status, 404);
    let export = stack
        .rest()
        .get("/settings/history?format=ndjson&documents=true")
        .unwrap()
        .text();
    let lines: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sizes: Vec<&Value> = lines.iter().map(|line| &line["settings"]["cache_size"]).collect();
    assert_eq!(
        sizes,
        [
            &json!(10_000),
            &json!(1),
            &json!(2),
            &json!(3),
            &json!(4),
            &json!(5),
            &json!(2)
        ]
    );
    assert_eq!(lines[6]["door"], "rollback");
}

#[test]
fn whoever_knows_the_settings_is_not_told_again() {
    let stack = stack();
    let rest = stack.rest();
    let known = rest.get("/settings").unwrap().header("etag").unwrap();
    let ask = |tags: &str| {
        rest.send(&Request::get("/settings").header("if-none-match", tags))
            .unwrap()
    };
    for tags in [known.clone(), format!("\"other\", W/{known}"), "*".to_owned()] {
        let answer = ask(&tags);
        assert_eq!((answer.status, answer.text()), (304, String::new()), "{tags}");
        assert_eq!(answer.header("etag").as_ref(), Some(&known));
    }
    stack.change_settings(&json!({"cache_size": 4_321})).unwrap();
    let answer = ask(&known);
    assert_eq!(
        (answer.status, &answer.json().unwrap()["cache_size"]),
        (200, &json!(4_321))
    );
}

#[test]
fn of_concurrent_writers_on_one_revision_exactly_one_wins() {
    const WRITERS: u64 = 8;
    let stack = stack();
    for round in 0..15_u64 {
        let present = stack.rest().get("/settings").unwrap();
        let tag = present.header("etag").unwrap();
        let start = Barrier::new(WRITERS as usize);
        let outcomes: Vec<(u64, u16)> = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (rest, tag, start) = (stack.rest(), &tag, &start);
                    scope.spawn(move || {
                        let size = round * WRITERS + writer + 1;
                        let request = Request::new("PATCH", "/settings")
                            .header("if-match", tag)
                            .body(json!({"cache_size": size}).to_string());
                        start.wait();
                        (size, rest.send(&request).unwrap().status)
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winners: Vec<u64> = outcomes
            .iter()
            .filter(|(_, status)| *status == 200)
            .map(|(size, _)| *size)
            .collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        assert!(
            outcomes.iter().all(|(_, status)| [200, 412].contains(status)),
            "{outcomes:?}"
        );
        assert_eq!(stack.rest().document("/settings").unwrap()["cache_size"], winners[0]);
    }
    // Without a condition nobody loses: each is applied to what the one before left.
    thread::scope(|scope| {
        for field in ["default_ttl", "breaker", "cache_size", "max_connections"] {
            let rest = stack.rest();
            let change = match field {
                "default_ttl" => json!({field: "44s"}),
                "breaker" => json!({field: {"probes": 4}}),
                _ => json!({field: 44}),
            };
            scope.spawn(move || assert_eq!(rest.merge_patch("/settings", &change).unwrap().status, 200));
        }
    });
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(
        (&settings["default_ttl"], &settings["breaker"]["probes"]),
        (&json!("44s"), &json!(4))
    );
    assert_eq!(
        (&settings["cache_size"], &settings["max_connections"]),
        (&json!(44), &json!(44))
    );
}

/// A state of a volume, put into force the way the kubelet does it.
fn swap(volume: &Path, name: &str, keys: &[(&str, &str)]) {
    let data = volume.join(name);
    std::fs::create_dir(&data).unwrap();
    for (key, text) in keys {
        std::fs::write(data.join(key), text).unwrap();
        let link = volume.join(key);
        if !link.exists() {
            symlink(Path::new("..data").join(key), link).unwrap();
        }
    }
    let new = volume.join("..data_tmp");
    symlink(name, &new).unwrap();
    std::fs::rename(new, volume.join("..data")).unwrap();
}

#[test]
fn a_config_map_volume_is_followed_key_by_key() {
    let volume = tempfile::tempdir().unwrap();
    swap(
        volume.path(),
        "..1",
        &[("cache_size", "500"), ("default_ttl", "5m"), ("max_connections", "20")],
    );
    let plan = Plan {
        config_dir: Some(volume.path().to_owned()),
        ..Plan::default()
    };
    let mut stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content")).unwrap()).unwrap();
    let settings = |stack: &Stack| stack.rest().document("/settings").unwrap();
    let seen = |stack: &Stack, what: &str, check: &dyn Fn(&Value) -> bool| {
        wait::until(what, || check(&settings(stack)).then_some(())).unwrap();
    };
    seen(&stack, "the volume's values", &|now| {
        now["cache_size"] == 500 && now["default_ttl"] == "5m"
    });

    // What is changed by another source stays, as long as its key does.
    stack.change_settings(&json!({"default_ttl": "90s"})).unwrap();
    let started = std::time::Instant::now();
    swap(
        volume.path(),
        "..2",
        &[("cache_size", ""), ("default_ttl", "5m"), ("max_connections", "50")],
    );
    seen(&stack, "the good key", &|now| now["max_connections"] == 50);
    stack.wait_connected().unwrap();
    eprintln!("a swap was in force after {:?}", started.elapsed());
    let now = settings(&stack);
    assert_eq!((&now["cache_size"], &now["default_ttl"]), (&json!(500), &json!("90s")));
    let last = stack.rest().document("/settings/history?limit=1").unwrap();
    assert_eq!(
        (&last[0]["door"], &last[0]["changes"].as_array().unwrap().len()),
        (&json!("config_map"), &1),
        "{last}"
    );

    let refused = |stack: &Stack| {
        let health = stack.rest().document("/health").unwrap();
        let component = health["components"]["config_map"].clone();
        assert_eq!(component["status"], "degraded", "{health}");
        assert!(component["reason"].as_str().unwrap().contains("cache_size"), "{health}");
        let metrics = stack.rest().get("/metrics").unwrap().text();
        assert!(metrics.contains("api_optimizer_config_map_refused_keys 1"), "{metrics}");
    };
    refused(&stack);
    assert!(
        stack
            .control()
            .process()
            .unwrap()
            .output()
            .contains("ConfigMap value refused")
    );
    wait::until("the alert", || {
        let active = stack.rest().document("/alerts/active").unwrap();
        active
            .as_array()?
            .iter()
            .any(|alert| alert["name"] == "config_map_refused")
            .then_some(())
    })
    .unwrap();
    // A restart undoes nothing and forgets nothing.
    stack.control().kill();
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    refused(&stack);
    assert_eq!(settings(&stack)["default_ttl"], "90s");

    swap(
        volume.path(),
        "..3",
        &[
            ("cache_size", "600.9"),
            ("default_ttl", "5m"),
            ("max_connections", "50"),
        ],
    );
    seen(&stack, "the mended key", &|now| now["cache_size"] == 600);
    let health = stack.rest().document("/health").unwrap();
    assert_eq!(health["components"]["config_map"]["status"], "healthy", "{health}");
    assert!(
        health["components"]["config_map"]["reason"]
            .as_str()
            .unwrap()
            .contains("rounded down"),
        "{health}"
    );
}

#[test]
fn a_cache_larger_than_the_machine_is_refused_at_every_door_with_the_reason() {
    let plan = Plan {
        environment: vec![("ENVOY_MEMORY_MB".to_owned(), "512".to_owned())],
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("x")).unwrap()).unwrap();
    let rest = stack.rest();
    let before = rest.document("/settings").unwrap();
    for dry in ["", "?dry_run=true"] {
        let too_much = json!({"cache_memory_mb": 513, "cache_size": 77});
        let answer = rest.merge_patch(&format!("/settings{dry}"), &too_much).unwrap();
        assert_eq!(answer.status, 422, "{}", answer.text());
        let violation = answer.json().unwrap()["violations"][0].clone();
        assert_eq!(violation["path"], "/cache_memory_mb", "{violation}");
        assert!(violation["message"].as_str().unwrap().contains("512 MB"), "{violation}");
    }
    assert_eq!(
        rest.document("/settings").unwrap(),
        before,
        "a bad value changes nothing"
    );
    stack.change_settings(&json!({"cache_memory_mb": 512})).unwrap();
}
