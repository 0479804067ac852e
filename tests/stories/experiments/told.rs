//! What is several times slower is stopped during the warm-up; and somebody hears of experiments that did harm, or that nobody judged.

use super::*;

/// The alert that is on by this name.
fn alert(rest: &Rest, name: &str) -> Option<Value> {
    let listed = rest.document("/alerts/active").ok()?;
    listed.as_array()?.iter().find(|alert| alert["name"] == name).cloned()
}

fn is_told(rest: &Rest, name: &str, experiment: &Value) -> Value {
    let told = wait::until(name, || alert(rest, name)).unwrap();
    assert_eq!(told["labels"]["experiment"], experiment["id"], "{told}");
    let summary = told["summary"].as_str().unwrap();
    assert!(summary.contains(experiment["summary"].as_str().unwrap()), "{told}");
    assert!(told.to_string().contains("#experiment-rolled-back"), "{told}");
    assert_eq!((&told["severity"], &told["sev"]), (&json!("warning"), &json!(3)));
    told
}

/// After a restart of the control plane.
fn two_envoys(rest: &Rest) {
    wait::until("two Envoys", || {
        let fleet = rest.document("/fleet").ok()?;
        let connected = fleet.as_array()?.iter().filter(|one| one["connected"] == true);
        (connected.count() >= 2).then_some(())
    })
    .unwrap();
}

#[test]
fn what_is_several_times_slower_is_stopped_before_caches_are_warm_and_told_until_it_is_seen() {
    let origin = Origin::start(|request| {
        std::thread::sleep(Duration::from_millis(200));
        Reply::ok(request.path.clone()).header("cache-control", "no-store")
    });
    // Of a limit like this a worker takes one place at a time, and not many of a larger one for later.
    let settings = json!({"alerts": {"resolve_after": "1s"}, "max_connections": 32});
    let (mut stack, others) = stack(settings, origin.unwrap());
    let rest = stack.rest();
    let clients = |count| Traffic::start(&addresses(&stack, &others), count, |random| format!("/page/{random}"));
    let usual = clients(4);
    wait::until("what is usual", || (stack.origin.total() > 800).then_some(())).unwrap();
    // A limit that is lowered takes places back as they become free.
    drop(usual);
    let path = begin(
        &rest,
        &json!({
            "settings": {"max_connections": 2, "concurrency": {"queue": 1_000, "queue_timeout": "1m"}}, "share": 30,
            "max_error_rate_increase": 50, "warm_up": "10m", "min_duration": "1m", "max_duration": "20m",
        }),
    );
    wait::until("the change on its Envoy", || {
        let one = rest.document(&path).ok()?;
        one["measuring_since"].is_u64().then_some(())
    })
    .unwrap();
    let traffic = clients(24);
    let one = ended(&rest, &path);
    assert_eq!(
        (&one["state"], &one["because"]),
        (&json!("rolled_back"), &json!("warm_up_latency")),
        "{one}"
    );
    println!("{}", one["summary"]);
    all_on_the_present(&rest, 3);
    drop(traffic);

    // Somebody hears of it, and with that it is over, also for a control plane that is restarted.
    let told = is_told(&rest, "experiment_harmful", &one);
    let seen = format!("/alerts/{}/ack", told["id"].as_str().unwrap());
    assert_eq!(rest.send(&Request::new("POST", &seen)).unwrap().status, 200);
    let over = || alert(&stack.rest(), "experiment_harmful").is_none().then_some(());
    wait::until("the end of the alert", over).unwrap();
    let history = rest.document("/alerts/history").unwrap();
    assert_eq!(history[0]["name"], "experiment_harmful", "{history}");
    let kept = stack.control().state_dir().join("alerts.json");
    wait::until("that it is kept", || {
        let text = std::fs::read_to_string(&kept).ok()?;
        text.contains("\"resolved\"").then_some(())
    })
    .unwrap();
    stack.control().kill();
    stack.control().restart().unwrap();
    let rest = stack.rest();
    two_envoys(&rest);
    // A change that ends without harm in between: whoever begins one has looked at the last.
    let path = begin(&rest, &long());
    assert_eq!(rest.send(&Request::new("DELETE", &path)).unwrap().status, 200);
    let history = rest.document("/alerts/history").unwrap();
    let times = history.to_string().matches("experiment_harmful\"").count();
    assert_eq!(times, 1, "{history}");
    assert_eq!(alert(&rest, "experiment_harmful"), None);
}

#[test]
fn a_lost_judge_is_told_until_the_next_experiment() {
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let (mut stack, _others) = stack(json!({"alerts": {"resolve_after": "1s"}}), origin);
    let path = begin(&stack.rest(), &long());
    stack.control().kill();
    stack.control().restart().unwrap();
    let rest = stack.rest();
    let one = ended(&rest, &path);
    assert_eq!(one["because"], "control_plane_lost", "{one}");
    is_told(&rest, "experiment_unjudged", &one);
    two_envoys(&rest);
    let path = begin(&rest, &long());
    wait::until("the end of the alert", || {
        alert(&rest, "experiment_unjudged").is_none().then_some(())
    })
    .unwrap();
    assert_eq!(rest.send(&Request::new("DELETE", &path)).unwrap().status, 200);
}
