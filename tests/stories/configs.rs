//! What is shipped in `envoy/`, judged by Envoy itself, and what its access log says.

use e2e::artefacts;
use e2e::bootstrap::{Bootstrap, Xds};
use e2e::client::Request;
use e2e::envoy::validate;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::path::PathBuf;

fn validated(name: &str, bootstrap: &Bootstrap) {
    validate(&bootstrap.render().unwrap()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
}

fn whole() -> Bootstrap {
    let mut whole = Bootstrap::bare(10_000, 9_901, ("localhost".to_owned(), 8_000));
    whole.grpc_port = Some(18_000);
    whole.rest_port = Some(8_080);
    whole.access_log = Some(PathBuf::from("/dev/null"));
    whole.wasm = Some(artefacts::filter().unwrap());
    // Tags of spans with values that are filled in: Envoy 1.36 does not know them.
    whole.collector = artefacts::envoy_is_at_least((1, 37)).then_some(4_317);
    whole
}

#[test]
fn envoy_finds_every_shipped_configuration_valid() {
    validated("static.yaml", &whole());
    let alone = Bootstrap {
        grpc_port: None,
        ..whole()
    };
    validated("static.yaml without a control plane", &alone);
    for xds in [Xds::StateOfTheWorld, Xds::Delta] {
        let dynamic = Bootstrap {
            xds: Some(xds),
            ..whole()
        };
        validated("dynamic.yaml", &dynamic);
    }
}

#[test]
fn the_access_log_says_what_cache_and_breaker_did() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    for xds in [None, Some(Xds::Delta)] {
        let plan = Plan {
            xds,
            access_log: Some(log.clone()),
            ..Plan::default()
        };
        let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content").max_age(600)).unwrap()).unwrap();
        stack.envoy.get("/logged").unwrap();
        stack.envoy.get("/logged").unwrap();
        wait::until("the breaker forced open", || {
            let forced = Request::new("POST", "/circuit-breaker/origin/force-open");
            (stack.rest().send(&forced).ok()?.status == 200).then_some(())
        })
        .unwrap();
        assert_eq!(stack.envoy.get("/shed").unwrap().status, 503);

        let lines = wait::until("three lines in the access log", || {
            let text = std::fs::read_to_string(&log).ok()?;
            let lines: Vec<Value> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            (lines.len() >= 3).then_some(lines)
        })
        .unwrap();
        let of = |index: usize, field: &str| lines[index][field].clone();
        assert_eq!(
            (of(0, "status"), of(0, "path"), of(0, "breaker")),
            (json!(200), json!("/logged"), Value::Null)
        );
        assert!(
            of(0, "cache_status").as_str().unwrap().contains("fwd=uri-miss"),
            "{}",
            lines[0]
        );
        assert_eq!(of(0, "upstream_cluster"), "origin");
        assert!(of(1, "cache_status").as_str().unwrap().contains("hit"), "{}", lines[1]);
        assert_eq!((of(2, "status"), of(2, "breaker")), (json!(503), json!("open")));
        std::fs::remove_file(&log).unwrap();
    }
}
