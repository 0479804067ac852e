//! The filter as a dynamic module of Envoy's: what its shell does by other means than the Wasm one. All other stories run with it as well:
//! `FILTER=native`.

use e2e::artefacts::{self, Shell};
use e2e::bootstrap::{Bootstrap, Part};
use e2e::client::{Connection, Request};
use e2e::envoy::{Envoy, validate};
use e2e::origin::{Gate, Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::path::Path;

fn plan() -> Plan {
    Plan {
        shell: Some(Shell::Native),
        ..Plan::default()
    }
}

#[test]
fn what_is_stored_is_hit_in_every_worker_purged_and_ruled_by_pushed_settings() {
    let origin = Origin::start(|request| Reply::ok(request.path.clone())).unwrap();
    let stack = Stack::start(&plan(), origin).unwrap();
    let mut workers = stack.envoy.connection_per_worker().unwrap();
    assert!(!stack.envoy.get("/a").unwrap().cache_status().contains("stored"));
    stack.change_settings(&json!({"default_ttl": "60s"})).unwrap();
    let stored = stack.envoy.get("/a").unwrap();
    assert!(stored.cache_status().contains("stored"), "{}", stored.cache_status());
    for worker in &mut workers {
        let hit = worker.exchange(&Request::get("/a")).unwrap();
        assert_eq!(
            (hit.is_hit(), hit.text().as_str()),
            (true, "/a"),
            "{}",
            hit.cache_status()
        );
        assert_eq!(hit.number("content-length"), Some(2));
        let head = worker.exchange(&Request::new("HEAD", "/a")).unwrap();
        assert_eq!((head.is_hit(), head.number("content-length")), (true, Some(2)));
    }
    assert_eq!(stack.origin.count("/a"), 2);

    let purge = Request::new("POST", "/cache/purge?wait=all&timeout=10s").body(r#"{"all": true}"#);
    let receipt = stack.rest().send(&purge).unwrap();
    assert_eq!(receipt.json().unwrap()["complete"], true, "{}", receipt.text());
    for worker in &mut workers {
        assert_eq!(worker.exchange(&Request::get("/a")).unwrap().status, 200);
    }
    assert_eq!(stack.origin.count("/a"), 3, "once more for all workers");
    wait::until("the hits in Envoy's own statistics", || {
        (stack.envoy.stat("wasmcustom.api_optimizer_requests_hit_total") >= 4).then_some(())
    })
    .unwrap();
}

#[test]
fn a_crowd_in_all_workers_costs_one_fetch_and_a_failing_origin_opens_the_breaker() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.path.as_str() {
        "/crowd" => Reply::ok("content").max_age(60).behind(&held),
        _ => Reply::new(500),
    });
    let settings = json!({"breaker": {"minimum_calls": 5, "open_wait": "60s"}});
    // Envoy's own replies get a format that would be no content for a hit.
    let rewrite =
        r#"local_reply_config: { body_format: { text_format_source: { inline_string: "%RESPONSE_CODE%" } } }"#;
    let plan = Plan {
        control_plane: false,
        settings,
        parts: [(Part::ConnectionManager, rewrite.to_owned())].into(),
        ..plan()
    };
    let stack = Stack::start(&plan, origin.unwrap()).unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| stack.envoy.get("/crowd").unwrap()))
            .collect();
        stack.envoy.wait_for_requests(clients.len()).unwrap();
        gate.open();
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "content"));
        }
    });
    assert_eq!(stack.origin.count("/crowd"), 1);
    let refused = wait::until("a refusal", || {
        let answer = stack.envoy.get("/fails").ok()?;
        (answer.status == 503).then_some(answer)
    })
    .unwrap();
    assert!(
        refused.header("proxy-status").unwrap().contains("circuit breaker"),
        "{refused:?}"
    );
    assert!(stack.envoy.get("/crowd").unwrap().is_hit());
}

#[test]
fn a_panic_costs_its_own_request_nothing_and_no_other_one_either() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.path.as_str() {
        "/waited-for" => Reply::ok("late").max_age(60).behind(&held),
        _ => Reply::ok("warm").max_age(600),
    });
    let plan = Plan {
        trap: true,
        workers: 1,
        ..plan()
    };
    let stack = Stack::start(&plan, origin.unwrap()).unwrap();
    stack.envoy.get("/stored").unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| stack.envoy.get("/waited-for").unwrap()))
            .collect();
        stack.envoy.wait_for_requests(waiting.len()).unwrap();
        wait::until("the fetch", || (stack.origin.count("/waited-for") == 1).then_some(())).unwrap();
        let asked = Request::get("/stored").header("x-optimizer-trap", "1");
        let passed = stack.envoy.fetch(&asked).unwrap();
        assert_eq!(
            (passed.status, passed.header("cache-status")),
            (200, None),
            "straight from the origin"
        );
        // Those that followed another's fetch have a fetch each now.
        wait::until("all at the origin", || {
            (stack.origin.count("/waited-for") == 3).then_some(())
        })
        .unwrap();
        gate.open();
        for client in waiting {
            assert_eq!(client.join().unwrap().text(), "late");
        }
    });
    assert!(stack.envoy.get("/stored").unwrap().is_hit(), "the cache is warm");
    // The new state is a full member again: of the control link, and of what settings must reach.
    stack.change_settings(&json!({"cache_size": 500})).unwrap();
    wait::until("the panic in Envoy's statistics", || {
        (stack.envoy.stat("wasmcustom.api_optimizer_panics_total") == 1).then_some(())
    })
    .unwrap();
}

fn whole(module: &Path, settings: &str) -> String {
    let mut bootstrap = Bootstrap::bare(10_000, 9_901, ("localhost".to_owned(), 8_000));
    bootstrap.wasm = Some(module.to_owned());
    settings.clone_into(&mut bootstrap.settings);
    bootstrap.render().unwrap()
}

#[test]
fn a_wrong_configuration_and_a_missing_file_are_refused_by_name() {
    let module = artefacts::native_filter().unwrap();
    validate(&whole(&module, "{}")).unwrap();
    let refused = validate(&whole(&module, r#"{"cache_size": 0}"#))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("/settings/cache_size"), "{refused}");
    let missing = validate(&whole(Path::new("/nowhere/filter.so"), "{}"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("/nowhere/filter.so"), "{missing}");
}

/// The filter as Envoy discovers it in a file.
fn discovered(name: &str, module: &Path) -> String {
    let configuration = json!({"control_cluster": "", "node_id": "envoy", "settings": {}}).to_string();
    json!({
        "version_info": "1",
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "api_optimizer",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": {"name": name, "module": {"local": {"filename": module}}, "do_not_close": true},
                "filter_name": "api_optimizer",
                "filter_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration},
            },
        }],
    })
    .to_string()
}

fn discover(file: &Path, content: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn another_version_of_the_module_finds_the_cache_warm() {
    let folder = tempfile::tempdir().unwrap();
    let (file, first) = (folder.path().join("filter.json"), artefacts::native_filter().unwrap());
    let second = folder.path().join("libapi_optimizer_2.so");
    std::fs::copy(&first, &second).unwrap();
    discover(&file, &discovered("first", &first));
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let address = ("127.0.0.1".to_owned(), origin.address().port());
    let mut bootstrap = Bootstrap::bare(free_port().unwrap(), free_port().unwrap(), address);
    bootstrap.wasm = Some(first);
    let discovery = json!({
        "name": "api_optimizer",
        "config_discovery": {
            "config_source": {"path_config_source": {"path": file}, "resource_api_version": "V3"},
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"],
        },
    });
    bootstrap.parts.insert(Part::Filter, format!("- {discovery}"));
    let mut envoy = Envoy::start(&bootstrap, 2, folder.path()).unwrap();
    envoy.wait_ready().unwrap();
    for page in 0..20 {
        envoy.get(&format!("/{page}")).unwrap();
    }
    let reloads = "extension_config_discovery.http_filter.api_optimizer.config_reload";
    let before = envoy.stat(reloads);
    discover(&file, &discovered("second", &second));
    wait::until("the new module", || (envoy.stat(reloads) > before).then_some(())).unwrap();
    let mut connection = Connection::open(envoy.address()).unwrap();
    for page in 0..20 {
        let answer = connection.exchange(&Request::get(&format!("/{page}"))).unwrap();
        assert!(answer.is_hit(), "{page}: {}", answer.cache_status());
    }
    assert_eq!(origin.total(), 20);
    let log = envoy.process().output();
    assert!(
        log.contains("what was stored by the module before this one is kept"),
        "{log}"
    );
}
