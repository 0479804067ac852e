//! Alerts reach whoever is on call, once, over a control plane that is killed in between.

use e2e::client::Request;
use e2e::origin::{Origin, Received, Reply};
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// A real Alertmanager that keeps what it is told to itself.
fn alertmanager(folder: &Path) -> (Process, Rest) {
    let port = free_port().unwrap();
    let configuration = folder.join("alertmanager.yml");
    std::fs::write(
        &configuration,
        "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
    )
    .unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    let process = Process::start("Alertmanager", &mut command, &folder.join("alertmanager.log"))
        .expect("an Alertmanager (Debian: prometheus-alertmanager)");
    let rest = Rest::new((Ipv4Addr::LOCALHOST, port).into());
    wait::until("Alertmanager ready", || {
        (rest.get("/-/ready").ok()?.status == 200).then_some(())
    })
    .unwrap();
    (process, rest)
}

/// What a receiver got, as JSON.
fn told(receiver: &Origin) -> Vec<Value> {
    let body = |request: &Received| serde_json::from_slice(&request.body).unwrap();
    receiver.received().iter().map(body).collect()
}

fn active(stack: &Stack) -> Value {
    let listed = stack.rest().document("/alerts/active").unwrap();
    let found = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|alert| alert["name"] == "error_rate");
    found.cloned().unwrap_or_default()
}

#[test]
fn an_alert_reaches_webhook_pagerduty_and_alertmanager_once_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, alertmanager) = alertmanager(folder.path());
    let pagerduty = Origin::start(|_| Reply::new(202)).unwrap();
    let webhook = Origin::start(|_| Reply::new(503)).unwrap();
    let key = folder.path().join("routing-key");
    let token = folder.path().join("token");
    std::fs::write(&key, "R0UT1NG\n").unwrap();
    std::fs::write(&token, "s3cret\n").unwrap();
    let environment = [
        ("ALERT_WEBHOOK_URL", format!("http://{}/hook", webhook.address())),
        ("ALERT_WEBHOOK_TOKEN_FILE", token.display().to_string()),
        ("PAGERDUTY_URL", format!("http://{}/v2/enqueue", pagerduty.address())),
        ("PAGERDUTY_ROUTING_KEY_FILE", key.display().to_string()),
        ("ALERTMANAGER_URL", format!("http://{}", alertmanager.address())),
        ("RUNBOOK_URL", "https://wiki.example/RUNBOOK.md".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let origin = Origin::start(|_| Reply::new(500)).unwrap();
    let mut stack = Stack::start(
        &Plan {
            environment,
            ..Plan::default()
        },
        origin,
    )
    .unwrap();
    let rules = json!({
        "alerts": {"minimum_samples": 10, "resolve_after": "30m", "error_rate": {"for": "1s"}},
        "breaker": {"enabled": false},
    });
    stack.change_settings(&rules).unwrap();
    for at in 0..20 {
        stack.envoy.get(&format!("/{at}")).unwrap();
    }
    let alert = wait::until("the alert", || Some(active(&stack)).filter(Value::is_object)).unwrap();
    assert_eq!(
        (&alert["severity"], &alert["sev"]),
        (&json!("critical"), &json!(1)),
        "{alert}"
    );
    assert_eq!(
        (&alert["value"], &alert["threshold"]),
        (&json!(100), &json!(5.0)),
        "{alert}"
    );
    assert_eq!(
        alert["runbook"],
        "https://wiki.example/RUNBOOK.md#high-error-rate-alert"
    );
    wait::until("the alert at PagerDuty", || {
        (!told(&pagerduty).is_empty()).then_some(())
    })
    .unwrap();
    wait::until("a refusal by the webhook", || {
        (webhook.count("/hook") > 0).then_some(())
    })
    .unwrap();
    let at_alertmanager = || {
        let listed = alertmanager.document("/api/v2/alerts?active=true").unwrap();
        let ours = listed.as_array().unwrap().iter();
        ours.filter(|alert| alert["labels"]["alertname"] == "error_rate")
            .cloned()
            .collect::<Vec<Value>>()
    };
    let held = wait::until("the alert at Alertmanager", || at_alertmanager().pop()).unwrap();
    assert_eq!(held["labels"]["severity"], "critical", "{held}");
    assert_eq!(held["annotations"]["runbook_url"], alert["runbook"]);

    let id = alert["id"].as_str().unwrap().to_owned();
    let ack = Request::new("POST", &format!("/alerts/{id}/ack")).header("x-author", "night shift");
    assert_eq!(stack.rest().send(&ack).unwrap().status, 200);
    let silence = Request::new("POST", "/alerts/silences").body(r#"{"name":"cpu_usage","expires_in":"1h"}"#);
    assert_eq!(stack.rest().send(&silence).unwrap().status, 201);
    // Written down within a second.
    let kept = folder_of(&stack).join("alerts.json");
    wait::until("acknowledgement and silence on disk", || {
        let text = std::fs::read_to_string(&kept).ok()?;
        (text.contains("night shift") && text.contains("cpu_usage")).then_some(())
    })
    .unwrap();
    stack.control().kill();
    let told_of = |receiver: &Origin| {
        let bodies = told(receiver).into_iter();
        bodies.filter(|body| body["dedup_key"] == id.as_str()).count()
    };
    let refusals = told_of(&webhook);
    webhook.script(|_| Reply::new(204));
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    stack.wait_connected().unwrap();
    let after = active(&stack);
    assert_eq!(
        (&after["id"], &after["since"]),
        (&alert["id"], &alert["since"]),
        "{after}"
    );
    assert_eq!(after["acknowledged_by"], "night shift");
    assert_eq!(
        stack.rest().document("/alerts/silences").unwrap()[0]["name"],
        "cpu_usage"
    );
    wait::until("the notification that the webhook had refused", || {
        (told_of(&webhook) > refusals).then_some(())
    })
    .unwrap();
    assert_eq!(webhook.received()[0].header("authorization"), Some("Bearer s3cret"));
    assert_eq!(told_of(&pagerduty), 1, "not told again: {:?}", told(&pagerduty));

    // The rules are changed live: nothing is wrong any more, even if the last report came once more after the restart.
    stack
        .change_settings(&json!({"alerts": {"resolve_after": "0s", "enabled": false}}))
        .unwrap();
    wait::until("the end of the alert", || active(&stack).is_null().then_some(())).unwrap();
    wait::until("everybody told of the end", || {
        let told = (told_of(&pagerduty), told_of(&webhook), at_alertmanager().len());
        (told == (2, refusals + 2, 0)).then_some(())
    })
    .unwrap();
    let ours = |receiver: &Origin| {
        told(receiver)
            .into_iter()
            .filter(|body| body["dedup_key"] == id.as_str())
            .collect::<Vec<_>>()
    };
    let events = ours(&pagerduty);
    assert_eq!(
        (&events[0]["event_action"], &events[1]["event_action"]),
        (&json!("trigger"), &json!("resolve"))
    );
    assert_eq!(
        (&events[0]["routing_key"], &events[0]["payload"]["severity"]),
        (&json!("R0UT1NG"), &json!("critical"))
    );
    assert_eq!(events[0]["links"][0]["href"], alert["runbook"]);
    let history = stack.rest().document("/alerts/history").unwrap();
    assert_eq!(
        (&history[0]["id"], &history[0]["state"]),
        (&alert["id"], &json!("resolved")),
        "{history}"
    );
}

fn folder_of(stack: &Stack) -> std::path::PathBuf {
    stack.control.as_ref().unwrap().state_dir().to_owned()
}
