//! The ConfigMap through the Kubernetes API: both ways, under conflicts, with mistakes in it, and while the API is away.

use e2e::control_plane::{ControlPlane, Options};
use e2e::kube::KubeApi;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Later than a REST change and its writing back take: what the watch shows of our own writes is always out of date.
const LAG: Duration = Duration::from_millis(100);

fn start(api: &KubeApi, folder: &Path) -> ControlPlane {
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.join("state"),
        config_dir: None,
        environment: api.environment(folder).unwrap(),
    };
    let mut control = ControlPlane::start(options, folder).unwrap();
    control.wait_live().unwrap();
    control
}

fn change(rest: Rest, change: &Value) {
    let answer = rest.merge_patch("/settings", change).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn settings(rest: Rest) -> Value {
    rest.document("/settings").unwrap()
}

fn component(rest: Rest) -> (String, String) {
    let health = rest.document("/health").unwrap();
    let told = |field: &str| health["components"]["config_map"][field].as_str().unwrap().to_owned();
    (told("status"), told("reason"))
}

#[test]
fn settings_and_config_map_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let api = KubeApi::start(Some(&json!({"cache_size": "500", "default_ttl": "5m"})), LAG).unwrap();
    let plan = Plan {
        environment: api.environment(folder.path()).unwrap(),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content")).unwrap()).unwrap();
    let rest = stack.rest();
    wait::until("the ConfigMap's values", || {
        let now = settings(rest);
        (now["cache_size"] == 500 && now["default_ttl"] == "5m").then_some(())
    })
    .unwrap();
    stack.wait_connected().unwrap();

    stack
        .change_settings(&json!({"cache_size": 900, "breaker": {"open_wait": "7s"}}))
        .unwrap();
    let written = wait::until("the change written back", || {
        let data = api.data();
        (data["cache_size"] == "900" && data["breaker.open_wait"] == "7s").then_some(data)
    })
    .unwrap();
    assert_eq!(written["default_ttl"], "5m", "nothing else is touched");

    api.kubectl(&json!({"default_ttl": "7m", "cache_size": ""}));
    wait::until("the operator's good key", || {
        (settings(rest)["default_ttl"] == "7m").then_some(())
    })
    .unwrap();
    assert_eq!(
        settings(rest)["cache_size"],
        900,
        "the bad one keeps its last good value"
    );
    let (status, reason) = component(rest);
    assert!(
        status == "degraded" && reason.contains("cache_size"),
        "{status}: {reason}"
    );
    stack.change_settings(&json!({"max_connections": 77})).unwrap();
    wait::until("other keys written back", || {
        (api.data()["max_connections"] == "77").then_some(())
    })
    .unwrap();
    assert_eq!(
        api.data()["cache_size"],
        "",
        "a mistake stays where its author can see it"
    );
    api.kubectl(&json!({"cache_size": "901"}));
    wait::until("the mended key", || (settings(rest)["cache_size"] == 901).then_some(())).unwrap();
}

#[test]
fn both_doors_at_once_go_round_in_no_circle() {
    let folder = tempfile::tempdir().unwrap();
    let api = KubeApi::start(Some(&json!({"cache_size": "500"})), LAG).unwrap();
    let control = start(&api, folder.path());
    let rest = control.rest();
    wait::until("the ConfigMap's value", || {
        (settings(rest)["cache_size"] == 500).then_some(())
    })
    .unwrap();
    for round in 1..=40 {
        change(rest, &json!({"cache_size": 1_000 + round}));
        if round % 4 == 0 {
            api.kubectl(&json!({"max_connections": (100 + round).to_string()}));
        }
        std::thread::sleep(Duration::from_millis(15));
    }
    wait::until("both the same", || {
        let (data, now) = (api.data(), settings(rest));
        let here = now["cache_size"] == 1_040 && now["max_connections"] == 140;
        (here && data["cache_size"] == "1040" && data["max_connections"] == "140").then_some(())
    })
    .unwrap();
    // Long enough for everything that the watch is late with.
    std::thread::sleep(4 * LAG);
    assert_eq!(
        (&api.data()["cache_size"], &settings(rest)["cache_size"]),
        (&json!("1040"), &json!(1_040))
    );
    let history = rest.document("/settings/history?limit=200").unwrap();
    let undone: Vec<&Value> = history
        .as_array()
        .unwrap()
        .iter()
        .filter(|revision| revision["door"] == "config_map")
        .filter(|revision| {
            let mut changes = revision["changes"].as_array().unwrap().iter();
            changes.any(|change| change["path"] == "/cache_size" && change["after"] != 500)
        })
        .collect();
    assert!(undone.is_empty(), "what was written back is no change: {undone:?}");
    let patches = api.patches();
    assert!(
        patches.len() > 3
            && patches
                .iter()
                .all(|patch| patch["metadata"]["resourceVersion"].is_string()),
        "{patches:?}"
    );
}

#[test]
fn while_the_api_is_away_settings_change_and_are_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut api = KubeApi::start(None, Duration::ZERO).unwrap();
    let control = start(&api, folder.path());
    let rest = control.rest();
    wait::until("the missing ConfigMap told", || {
        component(rest).1.contains("no ConfigMap").then_some(())
    })
    .unwrap();
    api.kubectl(&json!({"cache_size": "500", "default_ttl": "5m"}));
    wait::until("the new ConfigMap's value", || {
        (settings(rest)["cache_size"] == 500).then_some(())
    })
    .unwrap();
    wait::until("all well", || (component(rest).0 == "healthy").then_some(())).unwrap();

    api.go_away();
    wait::until("the lost API told", || (component(rest).0 == "degraded").then_some(())).unwrap();
    change(rest, &json!({"cache_size": 700}));
    api.kubectl(&json!({"default_ttl": "9m"}));
    api.come_back().unwrap();
    wait::until("both the same", || {
        let (data, now) = (api.data(), settings(rest));
        (data["cache_size"] == "700" && now["cache_size"] == 700 && now["default_ttl"] == "9m").then_some(())
    })
    .unwrap();
    wait::until("all well again", || (component(rest).0 == "healthy").then_some(())).unwrap();
}
