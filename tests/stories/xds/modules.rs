//! The filter as a rollout: canary, promote, abort.

use super::{Load, plan, started};
use e2e::artefacts;
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::Stack;
use e2e::wait;
use serde_json::{Value, json};

/// The shipped filter as another module: with a custom section, which no host looks at.
fn another(name: u8) -> Vec<u8> {
    let mut module = std::fs::read(artefacts::filter().unwrap()).unwrap();
    module.extend_from_slice(&[0, 2, 1, name]);
    module
}

fn upload(stack: &Stack, module: Vec<u8>) -> String {
    let answer = stack
        .rest()
        .send(&Request::new("PUT", "/filter/modules").body(module))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()["sha256"].as_str().unwrap().to_owned()
}

fn roll(stack: &Stack, path: &str, body: &Value) {
    let request = Request::new("POST", path).body(body.to_string());
    let answer = stack.rest().send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Waits until Envoy says that it runs this module.
fn runs(stack: &Stack, sha256: &str) {
    wait::until("Envoy on the module", || {
        let view = stack.rest().document("/filter/rollout").ok()?;
        (view["envoys"][0]["in_force"] == sha256).then_some(())
    })
    .unwrap();
    let dump = stack.envoy.config_dump("ecds_filters").unwrap().to_string();
    assert!(dump.contains(sha256), "{dump}");
}

#[test]
fn an_upgrade_of_the_filter_is_a_rollout_and_the_cache_stays_warm() {
    let origin = Origin::start(|request| {
        let reply = Reply::ok("content");
        if request.path == "/kept" {
            reply.max_age(600)
        } else {
            reply.header("cache-control", "no-store")
        }
    });
    let stack = started(&plan(Xds::StateOfTheWorld, json!({})), origin.unwrap());
    stack.envoy.get("/kept").unwrap();
    let load = Load::start(&stack, 2);

    let (one, two) = (upload(&stack, another(b'1')), upload(&stack, another(b'2')));
    roll(
        &stack,
        "/filter/rollout",
        &json!({"sha256": one, "canary_percent": 100}),
    );
    runs(&stack, &one);
    roll(&stack, "/filter/rollout/promote", &json!({}));
    roll(
        &stack,
        "/filter/rollout",
        &json!({"sha256": two, "canary_percent": 100}),
    );
    runs(&stack, &two);
    roll(&stack, "/filter/rollout/abort", &json!({}));
    runs(&stack, &one);

    load.end();
    assert!(stack.envoy.get("/kept").unwrap().is_hit());
    assert_eq!(stack.origin.count("/kept"), 1);
    stack.wait_xds().unwrap();
}

#[test]
fn a_module_that_does_not_run_is_refused_and_the_one_before_stays() {
    let stack = started(
        &plan(Xds::Delta, json!({})),
        Origin::start(|_| Reply::ok("content").max_age(600)).unwrap(),
    );
    let answer = stack
        .rest()
        .send(&Request::new("PUT", "/filter/modules").body("#!/bin/sh"))
        .unwrap();
    assert_eq!(answer.status, 422, "{}", answer.text());

    let broken = upload(&stack, b"\0asm\x01\0\0\0\xff".to_vec());
    roll(
        &stack,
        "/filter/rollout",
        &json!({"sha256": broken, "canary_percent": 100}),
    );
    let refused = wait::until("the refusal", || {
        let rollout = stack.rest().document("/settings/rollout").ok()?;
        let refused = rollout["xds"]["envoys"][0]["refused"].as_array()?.clone();
        (!refused.is_empty()).then_some(refused)
    })
    .unwrap();
    assert_eq!(refused[0]["kind"], "extensions");
    for _ in 0..3 {
        assert_eq!(stack.envoy.get("/").unwrap().status, 200);
    }
    assert!(stack.envoy.get("/").unwrap().is_hit(), "the filter before goes on");
    roll(&stack, "/filter/rollout/abort", &json!({}));
    stack.wait_xds().unwrap();
}
