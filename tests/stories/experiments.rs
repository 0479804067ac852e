//! Experiments: a change of settings on part of the fleet that is promoted or rolled back by itself.

mod told;

use crate::description::Description;
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest that an experiment of these stories takes: its own limit, and a slot of time.
const LIMIT: Duration = Duration::from_secs(150);

fn stack(settings: Value, origin: Origin) -> (Stack, Vec<Envoy>) {
    stack_of(&Plan::default(), settings, origin)
}

fn stack_of(plan: &Plan, settings: Value, origin: Origin) -> (Stack, Vec<Envoy>) {
    let stack = Stack::start(plan, origin).unwrap();
    stack.change_settings(&settings).unwrap();
    let others = ["second", "third"].map(|node| stack.envoy_beside(node).unwrap());
    (stack, others.into())
}

/// Clients that ask all Envoys until they are told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    /// Answers with a status of 500 or above, by Envoy.
    failed: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// `clients` at each Envoy, each with a connection of its own; `path` is given a random number.
    fn start(envoys: &[SocketAddr], clients: u64, path: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), Arc::new(path));
        let failed: Vec<Arc<AtomicU64>> = envoys.iter().map(|_| Arc::default()).collect();
        let mut threads = Vec::new();
        for (envoy, failed) in envoys.iter().copied().zip(&failed) {
            for client in 0..clients {
                let (stop, path, failed) = (Arc::clone(&stop), Arc::clone(&path), Arc::clone(failed));
                threads.push(std::thread::spawn(move || {
                    let mut state = 88_172_645_463_325_252 ^ (u64::from(envoy.port()) << 8 | client);
                    let mut connection = Connection::open(envoy).unwrap();
                    while !stop.load(Ordering::SeqCst) {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        match connection.exchange(&Request::get(&path(state >> 11))) {
                            Ok(answer) if answer.status < 500 => {}
                            Ok(_) => drop(failed.fetch_add(1, Ordering::SeqCst)),
                            Err(_) => connection = Connection::open(envoy).unwrap(),
                        }
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }));
            }
        }
        Self { stop, failed, threads }
    }

    fn failed(&self) -> Vec<u64> {
        self.failed.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn addresses(stack: &Stack, others: &[Envoy]) -> Vec<SocketAddr> {
    std::iter::once(&stack.envoy)
        .chain(others)
        .map(Envoy::address)
        .collect()
}

fn post(rest: &Rest, body: &Value) -> (u16, Value) {
    let request = Request::new("POST", "/tuning/experiments").body(body.to_string());
    let answer = rest.send(&request).unwrap();
    (answer.status, answer.json().unwrap())
}

/// Begins one; its path.
fn begin(rest: &Rest, body: &Value) -> String {
    let (status, begun) = post(rest, body);
    assert_eq!(status, 201, "{begun}");
    format!("/tuning/experiments/{}", begun["id"].as_str().unwrap())
}

/// Waits for the end of an experiment.
fn ended(rest: &Rest, path: &str) -> Value {
    let ended = wait::until_within(LIMIT, "the end of the experiment", || {
        let one = rest.document(path).ok()?;
        one["ended_at"].is_u64().then_some(one)
    });
    ended.unwrap_or_else(|_| panic!("{}", rest.document(path).unwrap()))
}

fn all_on_the_present(rest: &Rest, envoys: usize) {
    wait::until("all on the present revision", || {
        let rollout = rest.document("/settings/rollout").ok()?;
        let all = rollout["envoys"].as_array().is_some_and(|all| all.len() == envoys);
        (all && rollout["complete"] == true).then_some(())
    })
    .unwrap();
    assert_eq!(rest.document("/settings/canary").unwrap()["canary"], Value::Null);
}

fn counted(rest: &Rest, outcome: &str) -> String {
    let metrics = rest.get("/metrics").unwrap().text();
    let name = format!("api_optimizer_experiments_total{{outcome=\"{outcome}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[test]
fn an_advised_size_that_helps_is_promoted_and_its_gain_is_about_what_was_predicted() {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(3_600)).unwrap();
    let (stack, others) = stack(json!({"cache_size": 20}), origin);
    let rest = stack.rest();
    let _traffic = Traffic::start(&addresses(&stack, &others), 1, |random| {
        format!("/page/{}", random % 150)
    });
    // The first lookup of every page is a miss of any cache: what is predicted from few of them is too little.
    wait::until_within(LIMIT, "enough lookups to predict from", || {
        let what_if = rest.document("/cache/what-if").ok()?;
        (what_if["samples"].as_u64() > Some(8_000)).then_some(())
    })
    .unwrap();
    let body = json!({
        "from": "what_if", "share": 30, "warm_up": "10s", "min_duration": "20s", "max_duration": "2m",
        "max_p95_increase": 200, "reason": "too small",
    });
    let (status, begun) = post(&rest, &body);
    assert_eq!(status, 201, "{begun}");
    assert_eq!(begun["envoys"].as_array().unwrap().len(), 1, "{begun}");
    assert_eq!(
        (&begun["plan"]["goal"], &begun["state"]),
        (&json!("cache_hit_ratio"), &json!("warming_up"))
    );
    assert_eq!(
        rest.document("/settings").unwrap()["cache_size"],
        20,
        "not the settings yet"
    );
    let (status, other) = post(&rest, &json!({"settings": {"cache_size": 7}}));
    assert_eq!((status, &other["code"]), (409, &json!("experiment_under_way")));
    let one = ended(&rest, &format!("/tuning/experiments/{}", begun["id"].as_str().unwrap()));
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("promoted"), &json!("better")),
        "{one}"
    );
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{one}"));
    let predicted = number(&one["predicted"]["cache_hit_ratio"]);
    let measured = &one["figures"]["cache_hit_ratio"];
    println!(
        "predicted {predicted:+.1} points, measured {measured}; {}",
        one["summary"]
    );
    assert!((predicted - number(&measured["seen"])).abs() <= 15.0, "{one}");
    assert!(number(&measured["low"]) > 0.0 && predicted > 20.0, "{one}");
    assert_eq!(
        rest.document("/settings").unwrap()["cache_size"],
        begun["settings"]["cache_size"]
    );
    all_on_the_present(&rest, 3);
    assert_eq!(counted(&rest, "promoted"), "1");
    let history = rest.document("/settings/history").unwrap();
    assert_eq!(history.as_array().unwrap().last().unwrap()["door"], "experiment");
}

#[test]
fn a_change_that_harms_is_rolled_back_by_itself_and_the_others_never_see_it() {
    let origin = Origin::start(|request| {
        std::thread::sleep(Duration::from_millis(10));
        Reply::ok(request.path.clone()).header("cache-control", "no-store")
    });
    let (stack, others) = stack(json!({}), origin.unwrap());
    let rest = stack.rest();
    let before = rest.document("/settings").unwrap();
    let traffic = Traffic::start(&addresses(&stack, &others), 4, |random| format!("/page/{random}"));
    let path = begin(
        &rest,
        &json!({
            "settings": {"max_connections": 1, "concurrency": {"queue": 0}}, "share": 30,
            "warm_up": "1m", "min_duration": "1m", "max_duration": "150s",
        }),
    );
    let one = ended(&rest, &path);
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("rolled_back"), &json!("error_rate")),
        "{one}"
    );
    assert!(
        one["summary"]
            .as_str()
            .unwrap()
            .starts_with("Rolled back: the error rate is +"),
        "{one}"
    );
    println!("{}", one["summary"]);
    all_on_the_present(&rest, 3);
    assert_eq!(rest.document("/settings").unwrap(), before);
    let failed = traffic.failed();
    assert_eq!(failed.iter().filter(|count| **count > 0).count(), 1, "{failed:?}");
    // And none of its clients sees it any longer.
    let after = traffic.failed();
    let asked = stack.origin.total();
    wait::until("a thousand more requests", || {
        (stack.origin.total() > asked + 1_000).then_some(())
    })
    .unwrap();
    assert_eq!(traffic.failed(), after);
    assert_eq!(counted(&rest, "rolled_back"), "1");
}

#[test]
fn without_traffic_nothing_is_known_and_without_a_second_envoy_nothing_is_tried() {
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let rest = stack.rest();
    let change = json!({"settings": {"cache_size": 7}, "warm_up": "0s", "min_duration": "20s", "max_duration": "40s"});
    let (status, alone) = post(&rest, &change);
    assert_eq!((status, &alone["code"]), (409, &json!("no_control_group")), "{alone}");
    let _other = stack.envoy_beside("second").unwrap();
    let (status, wrong) = post(
        &rest,
        &json!({"settings": {"cache_size": 7}, "share": 60, "warm_up": "soon"}),
    );
    assert_eq!(status, 422, "{wrong}");
    let paths: Vec<&Value> = wrong["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["path"])
        .collect();
    assert_eq!(paths, ["/share", "/warm_up"]);
    for (body, status, code) in [
        (json!({"settings": {"cache_sizes": 7}}), 422, "invalid_settings"),
        (json!({"settings": {}}), 422, "invalid_body"),
        (
            json!({"settings": {"cache_size": 7}, "from": "what_if"}),
            422,
            "invalid_body",
        ),
        (json!({"from": "ttl_advice"}), 409, "nothing_to_try"),
        (json!({"from": "limits"}), 409, "nothing_to_try"),
        (json!({"settings": {"cache_enabled": true}}), 409, "nothing_to_try"),
    ] {
        let (answered, problem) = post(&rest, &body);
        assert_eq!(
            (answered, &problem["code"]),
            (status, &json!(code)),
            "{body}: {problem}"
        );
    }
    let before = rest.document("/settings").unwrap();
    let one = ended(&rest, &begin(&rest, &change));
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("inconclusive"), &json!("too_few_requests")),
        "{one}"
    );
    assert_eq!(one["more_requests"], 1_000, "{one}");
    all_on_the_present(&rest, 2);
    assert_eq!(rest.document("/settings").unwrap(), before);
    assert_eq!(counted(&rest, "inconclusive"), "1");
}

/// One that would take an hour.
fn long() -> Value {
    json!({"settings": {"default_ttl": "60s"}, "share": 30})
}

#[test]
fn whatever_an_operator_decides_ends_an_experiment() {
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let volume = tempfile::tempdir().unwrap();
    let plan = Plan {
        config_dir: Some(volume.path().to_owned()),
        ..Plan::default()
    };
    let (stack, _others) = stack_of(&plan, json!({}), origin);
    let rest = stack.rest();
    let path = begin(&rest, &long());
    let etag = rest.get("/settings").unwrap().header("etag").unwrap();
    let dry = rest
        .merge_patch("/settings?dry_run=true", &json!({"cache_size": 5}))
        .unwrap();
    assert_eq!(dry.status, 200, "{}", dry.text());
    assert_eq!(
        rest.document(&path).unwrap()["ended_at"],
        Value::Null,
        "nothing was changed"
    );
    let change = Request::new("PATCH", "/settings?wait=all&timeout=10s")
        .header("if-match", etag)
        .header("x-author", "ops")
        .body(r#"{"cache_size": 5}"#);
    let changed = rest.send(&change).unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    let one = ended(&rest, &path);
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("overridden"), &json!("operator")),
        "{one}"
    );
    assert!(one["summary"].as_str().unwrap().contains("by ops (rest)"), "{one}");
    all_on_the_present(&rest, 3);
    let settings = rest.document("/settings").unwrap();
    assert_eq!(
        (&settings["cache_size"], settings["default_ttl"] == "1m"),
        (&json!(5), false)
    );

    // By the ConfigMap.
    let path = begin(&rest, &long());
    std::fs::write(volume.path().join("cache_size"), "6").unwrap();
    let one = ended(&rest, &path);
    assert!(
        one["summary"].as_str().unwrap().contains("by ConfigMap (config_map)"),
        "{one}"
    );
    all_on_the_present(&rest, 3);
    let settings = rest.document("/settings").unwrap();
    assert_eq!(
        (&settings["cache_size"], settings["default_ttl"] == "1m"),
        (&json!(6), false)
    );

    // Promoted as it is, by hand.
    let path = begin(&rest, &long());
    let promoted = rest.send(&Request::new("POST", "/settings/canary/promote")).unwrap();
    assert_eq!(promoted.status, 200);
    assert_eq!(ended(&rest, &path)["state"], "overridden");
    assert_eq!(rest.document("/settings").unwrap()["default_ttl"], "1m");

    // Another canary takes its place.
    let path = begin(&rest, &json!({"settings": {"default_ttl": "2m"}}));
    let canary = rest
        .merge_patch("/settings?canary=50", &json!({"cache_size": 7}))
        .unwrap();
    assert_eq!(canary.status, 200, "{}", canary.text());
    assert_eq!(ended(&rest, &path)["state"], "overridden");
    assert_eq!(post(&rest, &long()).1["code"], "canary_under_way");
    assert_eq!(
        rest.send(&Request::new("POST", "/settings/canary/abort"))
            .unwrap()
            .status,
        200
    );

    // Stopped.
    let path = begin(&rest, &json!({"settings": {"default_ttl": "2m"}}));
    let stopped = rest
        .send(&Request::new("DELETE", &path).header("x-author", "ops"))
        .unwrap();
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    let description = Description(rest.document("/openapi.json").unwrap());
    description.judge("delete", "/tuning/experiments/{id}", &stopped);
    let begun = json!({"settings": {"default_ttl": "2m"}}).to_string();
    let begun = rest
        .send(&Request::new("POST", "/tuning/experiments").body(begun))
        .unwrap();
    description.judge("post", "/tuning/experiments", &begun);
    let place = begun.header("location").unwrap();
    description.judge("get", "/tuning/experiments", &rest.get("/tuning/experiments").unwrap());
    description.judge("get", "/tuning/experiments/{id}", &rest.get(&place).unwrap());
    assert_eq!(rest.send(&Request::new("DELETE", &place)).unwrap().status, 200);
    let one = stopped.json().unwrap();
    assert_eq!(
        (&one["state"], &one["summary"]),
        (&json!("stopped"), &json!("Stopped by ops and rolled back."))
    );
    assert_eq!(rest.send(&Request::new("DELETE", &path)).unwrap().status, 409);
    all_on_the_present(&rest, 3);
    assert_eq!(rest.document("/settings").unwrap()["default_ttl"], "1m");
    assert_eq!(
        rest.document("/tuning/experiments").unwrap().as_array().unwrap().len(),
        6
    );
}

#[test]
fn an_experiment_ends_with_the_control_plane_that_judges_it() {
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let (mut stack, _others) = stack(json!({}), origin);
    let path = begin(&stack.rest(), &long());
    wait::until("the change on its Envoys", || {
        let one = stack.rest().document(&path).ok()?;
        one["measuring_since"].is_u64().then_some(())
    })
    .unwrap();
    stack.control().kill();
    stack.control().restart().unwrap();
    let rest = stack.rest();
    let one = ended(&rest, &path);
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("rolled_back"), &json!("control_plane_lost")),
        "{one}"
    );
    wait::until("all three above the experiment", || {
        let rollout = rest.document("/settings/rollout").ok()?;
        let all = rollout["envoys"].as_array().is_some_and(|envoys| envoys.len() == 3);
        (all && rollout["complete"] == true && rollout["revision"].as_u64() > one["revision"].as_u64()).then_some(())
    })
    .unwrap();
    assert!(!stack.envoy.get("/after").unwrap().cache_status().contains("stored"));
}

#[test]
fn a_change_whose_replica_is_gone_is_rolled_back_by_another() {
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let mut fleet = Fleet::replicated(2, json!({}), origin).unwrap();
    for _ in 0..2 {
        fleet.add_envoy(1).unwrap();
    }
    let both = |replica: usize| {
        let envoys = fleet.rest(replica).document("/fleet").ok()?;
        (envoys.to_string().matches("\"node_id\"").count() >= 2).then_some(())
    };
    wait::until("both Envoys at the other replica", || both(0)).unwrap();
    let path = begin(&fleet.rest(0), &long());
    wait::until("the experiment at the other replica", || {
        (fleet.rest(1).document(&path).ok()?["state"] == "warming_up").then_some(())
    })
    .unwrap();
    fleet.controls[0].kill();
    let one = ended(&fleet.rest(1), &path);
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("rolled_back"), &json!("control_plane_lost")),
        "{one}"
    );
    all_on_the_present(&fleet.rest(1), 2);
    assert_ne!(fleet.rest(1).document("/settings").unwrap()["default_ttl"], "1m");
}
