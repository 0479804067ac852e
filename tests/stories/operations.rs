//! What operators look at and who may change what.

use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use serde_json::{Value, json};
use std::process::Command;

fn origin() -> Origin {
    Origin::start(|request| {
        if request.path.starts_with("/bad") {
            Reply::new(500)
        } else {
            Reply::ok("content").max_age(600)
        }
    })
    .unwrap()
}

#[test]
fn envoys_own_figures_are_pushed_to_the_control_plane() {
    envoys_own_figures(&Plan::default());
}

#[test]
fn envoys_own_figures_are_fetched_where_nobody_pushes_them() {
    envoys_own_figures(&Plan {
        scraped: true,
        ..Plan::default()
    });
}

fn envoys_own_figures(plan: &Plan) {
    let stack = Stack::start(plan, origin()).unwrap();
    // One connection, so that Envoy needs few to the origin.
    let mut workers = stack.envoy.connection_per_worker().unwrap();
    let reuse = wait::until("the reuse of connections", || {
        for (at, connection) in workers.iter_mut().enumerate() {
            connection
                .exchange(&Request::get(&format!("/{at}")).header("cache-control", "no-cache"))
                .unwrap();
        }
        let view = stack.rest().document("/metrics/performance").unwrap();
        let by_envoy = view["sources"]["connection_reuse_rate"] == "envoy";
        view["connection_reuse_rate"]
            .as_f64()
            .filter(|rate| by_envoy && *rate > 50.0)
    })
    .unwrap();
    assert!(reuse <= 100.0);
    let system = wait::until("the connections of an Envoy", || {
        let system = stack.rest().document("/metrics/system").unwrap();
        (system["client_connections"].as_u64()? >= 2).then_some(system)
    })
    .unwrap();
    for field in ["memory_usage", "cpu_usage", "cpu_usage_percent", "disk_usage"] {
        let value = system[field].as_f64().unwrap_or(-1.0);
        assert!((0.0..=100.0).contains(&value), "{field}: {system}");
    }
    assert!(system["memory_usage_mb"].as_f64().unwrap() > 1.0, "{system}");
    assert_eq!(system["cpu_usage"], system["cpu_usage_percent"]);
    assert_eq!(
        (&system["envoys"][0]["workers"], &system["envoys"][0]["live"]),
        (&json!(2), &json!(1))
    );
    assert!(
        system["envoys"][0]["memory_usage_mb"].as_f64().unwrap() > 1.0,
        "{system}"
    );
}

#[test]
fn an_alert_fires_once_reaches_the_receiver_and_can_be_acknowledged() {
    let receiver = Origin::start(|_| Reply::ok("")).unwrap();
    let plan = Plan {
        environment: vec![(
            "ALERT_WEBHOOK_URL".to_owned(),
            format!("http://{}/alerts", receiver.address()),
        )],
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin()).unwrap();
    assert_eq!(stack.rest().document("/alerts/active").unwrap(), json!([]));
    let rule = json!({"alerts": {"minimum_samples": 10, "error_rate": {"warning": 1, "critical": 5, "for": "0s"}}, "breaker": {"enabled": false}});
    stack.change_settings(&rule).unwrap();
    for at in 0..20 {
        stack.envoy.get(&format!("/bad/{at}")).unwrap();
    }
    let alert = wait::until("the alert", || {
        let active = stack.rest().document("/alerts/active").unwrap();
        active
            .as_array()?
            .iter()
            .find(|alert| alert["name"] == "error_rate")
            .cloned()
    })
    .unwrap();
    assert_eq!(
        (&alert["severity"], &alert["state"]),
        (&json!("critical"), &json!("firing"))
    );
    assert!(
        alert["value"].as_f64().unwrap() > 5.0 && alert["summary"].is_string(),
        "{alert}"
    );
    wait::until("the notification", || (receiver.count("/alerts") > 0).then_some(())).unwrap();
    let told: Value = serde_json::from_slice(&receiver.received()[0].body).unwrap();
    assert_eq!((&told["action"], &told["dedup_key"]), (&json!("trigger"), &alert["id"]));

    let id = alert["id"].as_str().unwrap();
    let acknowledged = stack
        .rest()
        .send(&Request::new("POST", &format!("/alerts/{id}/ack")).header("x-author", "me"))
        .unwrap();
    assert_eq!(acknowledged.status, 200, "{}", acknowledged.text());
    let active = stack.rest().document("/alerts/active").unwrap();
    assert_eq!(active[0]["acknowledged_by"], "me");
    let silence = Request::new("POST", "/alerts/silences").body(r#"{"name":"error_rate","expires_in":"1h"}"#);
    assert_eq!(stack.rest().send(&silence).unwrap().status, 201);
    let unknown = Request::new("POST", "/alerts/nothing/ack");
    assert_eq!(stack.rest().send(&unknown).unwrap().status, 404);
    assert_eq!(receiver.count("/alerts"), 1, "told once");
}

#[test]
fn a_profile_is_shown_first_and_applied_by_name() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let post = |path: &str| stack.rest().send(&Request::new("POST", path)).unwrap();
    let shown = post("/settings/profile/high_traffic_low_latency?dry_run=true")
        .json()
        .unwrap();
    assert_eq!(
        (&shown["settings"]["cache_size"], &shown["revision"]),
        (&json!(100_000), &json!(2))
    );
    assert_eq!(stack.rest().document("/settings").unwrap()["cache_size"], 10_000);
    let applied = post("/settings/profile/high_traffic_low_latency?wait=all");
    assert_eq!(applied.status, 200, "{}", applied.text());
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(
        (&settings["eviction_policy"], &settings["default_ttl"]),
        (&json!("lru"), &json!("1m"))
    );
    assert_eq!(post("/settings/profile/fastest").status, 404);

    stack.change_settings(&json!({"require_if_match": true})).unwrap();
    let blind = stack
        .rest()
        .merge_patch("/settings", &json!({"cache_size": 5}))
        .unwrap();
    assert_eq!(
        (blind.status, blind.json().unwrap()["code"].clone()),
        (428, json!("if_match_required"))
    );
}

#[test]
fn the_reference_of_the_settings_is_what_the_control_plane_prints() {
    let kept = std::fs::read_to_string(artefacts::workspace().join("deploy/SETTINGS.md")).unwrap();
    let printed = Command::new(artefacts::control_plane().unwrap())
        .arg("--print-settings-reference")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&printed.stdout),
        kept,
        "write it anew: api-optimizer-control-plane --print-settings-reference > deploy/SETTINGS.md"
    );
}

#[test]
fn the_description_of_the_api_is_the_api() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let served = stack.rest().document("/openapi.json").unwrap();
    let kept = std::fs::read_to_string(artefacts::workspace().join("control-plane/openapi.json")).unwrap();
    let printed = Command::new(artefacts::control_plane().unwrap())
        .arg("--print-openapi")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&printed.stdout),
        kept,
        "write it anew: api-optimizer-control-plane --print-openapi > control-plane/openapi.json"
    );
    assert_eq!(served["paths"], serde_json::from_str::<Value>(&kept).unwrap()["paths"]);
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    // A stream never ends, and what needs parameters is tried elsewhere.
    let plain = served["paths"].as_object().unwrap().iter().filter(|(path, item)| {
        let streams = ["/events", "/metrics/stream"].contains(&path.as_str());
        item["get"].is_object() && !path.contains('{') && !streams && *path != "/cache/explain"
    });
    for (path, _) in plain {
        let answer = stack.rest().get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let docs = stack.rest().get("/docs/").unwrap();
    assert_eq!(docs.status, 200);
    for (method, path) in [
        ("GET", "/metrics/performance?colour=red"),
        ("PATCH", "/nowhere"),
        ("DELETE", "/health"),
    ] {
        let answer = stack.rest().send(&Request::new(method, path)).unwrap();
        assert!(answer.status >= 400, "{method} {path}");
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/problem+json"),
            "{method} {path}"
        );
    }
}
