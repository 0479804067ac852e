//! The filter as a rollout: canary, promote, abort.

use super::{Load, plan, started};
use e2e::artefacts;
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::stack::Stack;
use e2e::wait;
use serde_json::{Value, json};

/// The shipped filter as another module: with a custom section, which no host looks at.
fn another(name: u8) -> Vec<u8> {
    let mut module = std::fs::read(artefacts::wasm_filter().unwrap()).unwrap();
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

/// What the control plane says about one Envoy's module.
fn module_of(stack: &Stack, node_id: &str) -> Option<Value> {
    let view = stack.rest().document("/filter/rollout").ok()?;
    let envoys = view["envoys"].as_array()?;
    envoys.iter().find(|envoy| envoy["node_id"] == node_id).cloned()
}

/// Waits until the control plane says that an Envoy runs this module.
fn runs(stack: &Stack, node_id: &str, sha256: &str) {
    wait::until("Envoy on the module", || {
        let module = module_of(stack, node_id)?;
        (module["in_force"] == sha256).then_some(())
    })
    .unwrap();
}

/// The shipped filter under another name of the same length in `Cache-Status`: clients see which one serves them.
fn marked(mark: u8) -> Vec<u8> {
    let mut module = another(mark);
    let name = b"api-optimizer";
    let places: Vec<usize> = (0..module.len())
        .filter(|place| module[*place..].starts_with(name))
        .collect();
    assert!(!places.is_empty());
    for place in places {
        module[place + 4] = mark;
    }
    module
}

/// The name under which the filter answers a client; `None` = there is no filter. The answer is always the origin's.
fn name(envoy: &Envoy) -> Option<String> {
    let answer = envoy.get("/").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "content"));
    let status = answer.header("cache-status")?.to_owned();
    Some(status.split(';').next().unwrap_or_default().to_owned())
}

fn named(envoy: &Envoy, wanted: &str) {
    wait::until("an answer of the module", || {
        (name(envoy).as_deref() == Some(wanted)).then_some(())
    })
    .unwrap();
}

fn cacheable() -> Origin {
    Origin::start(|_| Reply::ok("content").max_age(600)).unwrap()
}

fn clients_see_what_is_rolled_out(xds: Xds) {
    let stack = started(&plan(xds, json!({})), cacheable());
    assert_eq!(name(&stack.envoy).as_deref(), Some("api-optimizer"));
    let (one, two) = (upload(&stack, marked(b'1')), upload(&stack, marked(b'2')));
    let canary = |sha256: &str| json!({"sha256": sha256, "canary_percent": 100});

    roll(&stack, "/filter/rollout", &canary(&one));
    runs(&stack, "envoy", &one);
    assert_eq!(name(&stack.envoy).as_deref(), Some("api-1ptimizer"));
    roll(&stack, "/filter/rollout/promote", &json!({}));

    // An Envoy that starts now has to fetch the module, and serves meanwhile.
    let second = stack.another_envoy("second").unwrap();
    named(&second, "api-1ptimizer");
    runs(&stack, "second", &one);
    assert_eq!(name(&stack.envoy).as_deref(), Some("api-1ptimizer"));

    roll(&stack, "/filter/rollout", &canary(&two));
    for (envoy, node_id) in [(&stack.envoy, "envoy"), (&second, "second")] {
        runs(&stack, node_id, &two);
        assert_eq!(name(envoy).as_deref(), Some("api-2ptimizer"));
    }
    roll(&stack, "/filter/rollout/abort", &json!({}));
    for (envoy, node_id) in [(&stack.envoy, "envoy"), (&second, "second")] {
        runs(&stack, node_id, &one);
        assert_eq!(name(envoy).as_deref(), Some("api-1ptimizer"));
    }
    stack.wait_xds().unwrap();
}

#[test]
fn clients_see_what_is_rolled_out_by_whole_kinds() {
    clients_see_what_is_rolled_out(Xds::StateOfTheWorld);
}

#[test]
fn clients_see_what_is_rolled_out_by_changes() {
    clients_see_what_is_rolled_out(Xds::Delta);
}

/// Waits until `/filter/rollout` and `/health` say that an Envoy has no filter.
fn is_without(stack: &Stack, node_id: &str) {
    wait::until("the refusal is told", || {
        let module = module_of(stack, node_id)?;
        let health = stack.rest().document("/health").ok()?.to_string();
        let told = module["reports"] == false && module["refused"].is_string();
        (told && health.contains(&format!("{node_id} refused extensions"))).then_some(())
    })
    .unwrap();
}

fn an_envoy_without_its_module_serves_and_heals(xds: Xds) {
    let mut stack = started(&plan(xds, json!({})), cacheable());
    let file = stack.folder().join("late.wasm");
    let late = stack.envoy_with_filter("late", &file).unwrap();
    assert_eq!(name(&late), None, "served without the filter");
    is_without(&stack, "late");
    stack.control().restart().unwrap();
    is_without(&stack, "late");
    assert_eq!(name(&late), None, "served without the filter");

    std::fs::copy(artefacts::wasm_filter().unwrap(), &file).unwrap();
    named(&late, "api-optimizer");
    wait::until("the refusal is over", || {
        let module = module_of(&stack, "late")?;
        (module["reports"] == true && module["refused"].is_null()).then_some(())
    })
    .unwrap();

    // Another one, whose file never comes, is healed by a module of the control plane.
    let lost = stack
        .envoy_with_filter("lost", &stack.folder().join("never.wasm"))
        .unwrap();
    assert_eq!(name(&lost), None, "served without the filter");
    let module = upload(&stack, marked(b'3'));
    roll(
        &stack,
        "/filter/rollout",
        &json!({"sha256": module, "canary_percent": 100}),
    );
    runs(&stack, "lost", &module);
    named(&lost, "api-3ptimizer");
}

#[test]
fn an_envoy_without_its_module_serves_and_heals_by_whole_kinds() {
    an_envoy_without_its_module_serves_and_heals(Xds::StateOfTheWorld);
}

#[test]
fn an_envoy_without_its_module_serves_and_heals_by_changes() {
    an_envoy_without_its_module_serves_and_heals(Xds::Delta);
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
    runs(&stack, "envoy", &one);
    roll(&stack, "/filter/rollout/promote", &json!({}));
    roll(
        &stack,
        "/filter/rollout",
        &json!({"sha256": two, "canary_percent": 100}),
    );
    runs(&stack, "envoy", &two);
    roll(&stack, "/filter/rollout/abort", &json!({}));
    runs(&stack, "envoy", &one);

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
