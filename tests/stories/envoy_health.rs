//! Health is what users meet: what is wrong with an Envoy beside its filter is told, by health, by alert and by Envoy, until it is well.

use e2e::artefacts;
use e2e::bootstrap::{Part, Xds};
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Longest wait for a fault to be over.
const LONG: Duration = Duration::from_secs(90);

fn started(plan: &Plan) -> Stack {
    let origin = Origin::start(|_| Reply::ok("content").header("cache-control", "no-store")).unwrap();
    let stack = Stack::start(plan, origin).unwrap();
    let at_once = json!({"enabled": true, "for": "0s"});
    let rules = [
        "envoy_overloaded",
        "envoy_configuration_refused",
        "filter_missing",
        "figures_missing",
        "errors_unseen",
    ];
    let states: serde_json::Map<String, Value> =
        rules.iter().map(|rule| ((*rule).to_owned(), at_once.clone())).collect();
    stack
        .change_settings(&json!({"alerts": {"minimum_samples": 20, "resolve_after": "0s", "states": states}}))
        .unwrap();
    stack
}

/// A component of `/health`: its status and why.
fn component(stack: &Stack, name: &str) -> (String, String) {
    let health = stack.rest().document("/health").unwrap();
    let component = &health["components"][name];
    let text = |field: &str| component[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// The alert of a rule about an Envoy, if it is on.
fn alert(stack: &Stack, rule: &str, envoy: &str) -> Option<Value> {
    let listed = stack.rest().document("/alerts/active").unwrap();
    let about = |alert: &&Value| alert["name"] == rule && alert["labels"]["envoy"] == envoy;
    listed.as_array().unwrap().iter().find(about).cloned()
}

/// What REST says of one Envoy.
fn of(stack: &Stack, envoy: &str) -> Option<Value> {
    let listed = stack.rest().document("/fleet/health").ok()?;
    listed.as_array()?.iter().find(|one| one["node_id"] == envoy).cloned()
}

/// Waits until health, the alert and REST agree that something is wrong with an Envoy; the reason in health.
fn is_told(stack: &Stack, name: &str, rule: &str, envoy: &str) -> String {
    wait::until("the fault in health, in alerts and by Envoy", || {
        let (status, reason) = component(stack, name);
        let faults = of(stack, envoy)?["faults"].as_array()?.clone();
        let by_envoy = faults
            .iter()
            .any(|fault| fault["component"] == name && fault["alert"] == rule);
        let told = status == "degraded" && reason.contains(envoy) && by_envoy && alert(stack, rule, envoy).is_some();
        told.then_some(reason)
    })
    .unwrap_or_else(|failure| panic!("{failure}: {:?} {:?}", component(stack, name), of(stack, envoy)))
}

/// Waits until nothing of it is told any more.
fn is_over(stack: &Stack, name: &str, rule: &str, envoy: &str) {
    // A module that was refused is offered again at growing intervals.
    wait::until_within(LONG, "the end of the fault", || {
        let (status, _) = component(stack, name);
        (status == "healthy" && alert(stack, rule, envoy).is_none()).then_some(())
    })
    .unwrap_or_else(|failure| panic!("{failure}: {:?} {:?}", component(stack, name), of(stack, envoy)));
}

/// Writes a file that Envoy watches: it notices when a link is moved onto it.
fn put(folder: &Path, name: &str, content: &str) {
    let version = folder.join(format!("{name}-{}", std::fs::read_dir(folder).unwrap().count()));
    std::fs::write(&version, content).unwrap();
    let link = folder.join("link");
    std::os::unix::fs::symlink(&version, &link).unwrap();
    std::fs::rename(link, folder.join(name)).unwrap();
}

fn overload(pressure: &Path) -> String {
    format!(
        r#"overload_manager:
  refresh_interval: 0.1s
  resource_monitors:
    - name: envoy.resource_monitors.injected_resource
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig
        filename: {}
  actions:
    - name: envoy.overload_actions.shrink_heap
      triggers: [{{ name: envoy.resource_monitors.injected_resource, threshold: {{ value: 0.9 }} }}]
    - name: envoy.overload_actions.stop_accepting_requests
      triggers: [{{ name: envoy.resource_monitors.injected_resource, threshold: {{ value: 0.95 }} }}]"#,
        pressure.display()
    )
}

#[test]
fn an_envoy_that_turns_clients_away_is_not_well() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "pressure", "0.1");
    let mut plan = Plan::default();
    plan.parts
        .insert(Part::Overload, overload(&folder.path().join("pressure")));
    let stack = started(&plan);
    assert_eq!(stack.envoy.get("/").unwrap().status, 200);
    let well = component(&stack, "overload");
    assert_eq!(well.0, "healthy", "{well:?}");

    put(folder.path(), "pressure", "0.92");
    let reason = is_told(&stack, "overload", "envoy_overloaded", "envoy");
    assert!(reason.contains("saves memory: shrink_heap"), "{reason}");
    assert_eq!(
        alert(&stack, "envoy_overloaded", "envoy").unwrap()["severity"],
        "warning"
    );
    assert_eq!(stack.envoy.get("/").unwrap().status, 200);

    put(folder.path(), "pressure", "0.97");
    wait::until("a client that is turned away", || {
        (stack.envoy.get("/").ok()?.status == 503).then_some(())
    })
    .unwrap();
    let reason = wait::until("clients turned away in health", || {
        let (_, reason) = component(&stack, "overload");
        reason.contains("turns clients away").then_some(reason)
    })
    .unwrap();
    assert!(reason.contains("stop_accepting_requests"), "{reason}");
    wait::until("the alert to be critical", || {
        (alert(&stack, "envoy_overloaded", "envoy")?["severity"] == "critical").then_some(())
    })
    .unwrap();
    let told = alert(&stack, "envoy_overloaded", "envoy").unwrap();
    assert!(told["runbook"].as_str().unwrap().ends_with("#envoy-alert"), "{told}");
    let shown = of(&stack, "envoy").unwrap();
    assert_eq!(
        (&shown["status"], &shown["filter"]),
        (&json!("degraded"), &json!(true)),
        "{shown}"
    );
    assert_eq!(
        shown["pressure_percent"]["envoy.resource_monitors.injected_resource"], 97,
        "{shown}"
    );
    assert!(
        shown["overload"].as_array().unwrap().iter().any(|action| {
            action["name"] == "envoy.overload_actions.stop_accepting_requests" && action["refuses"] == true
        }),
        "{shown}"
    );
    // What Envoy refuses no filter sees.
    for _ in 0..40 {
        assert_eq!(stack.envoy.get("/").unwrap().status, 503);
    }
    is_told(&stack, "clients", "errors_unseen", "envoy");
    let metrics = stack.rest().get("/metrics").unwrap().text();
    assert!(
        metrics.contains(r#"api_optimizer_envoy_faults{component="overload"} 1"#),
        "{metrics}"
    );

    put(folder.path(), "pressure", "0.1");
    is_over(&stack, "overload", "envoy_overloaded", "envoy");
    assert_eq!(stack.envoy.get("/").unwrap().status, 200);
}

#[test]
fn an_envoy_without_its_filter_is_told_until_the_filter_is_there() {
    let plan = Plan {
        xds: Some(Xds::Delta),
        ..Plan::default()
    };
    let stack = started(&plan);
    let folder = tempfile::tempdir().unwrap();
    let late = folder.path().join("late.wasm");
    let second = stack.envoy_with_filter("second", &late).unwrap();
    is_told(&stack, "filter", "filter_missing", "second");
    let shown = of(&stack, "second").unwrap();
    assert_eq!(
        (&shown["filter"], &shown["status"]),
        (&json!(false), &json!("degraded")),
        "{shown}"
    );
    // It serves, without the cache.
    assert_eq!(second.get("/").unwrap().status, 200);
    is_told(&stack, "envoy_configuration", "envoy_configuration_refused", "second");
    let shown = of(&stack, "second").unwrap();
    let refused = shown["refused_configuration"].to_string();
    assert!(refused.contains("extension_config_discovery.http_filter"), "{shown}");

    std::fs::copy(artefacts::wasm_filter().unwrap(), &late).unwrap();
    is_over(&stack, "filter", "filter_missing", "second");
    is_over(&stack, "envoy_configuration", "envoy_configuration_refused", "second");
    assert_eq!(of(&stack, "second").unwrap()["filter"], true);
}

/// A filter whose configuration comes from a file, and names a module that is not there.
fn discovered(file: &Path) -> String {
    std::fs::write(
        file,
        r#"resources:
  - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: optimizer
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
      config:
        vm_config: { vm_id: none, runtime: envoy.wasm.runtime.v8, code: { local: { filename: /nowhere/filter.wasm } } }
"#,
    )
    .unwrap();
    format!(
        r#"- name: optimizer
  config_discovery:
    config_source: {{ path_config_source: {{ path: {} }}, resource_api_version: V3 }}
    type_urls: ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]"#,
        file.display()
    )
}

#[test]
fn an_envoy_that_answers_500_to_everything_is_told() {
    let stack = started(&Plan::default());
    let folder = tempfile::tempdir().unwrap();
    let yaml = discovered(&folder.path().join("extension.yaml"));
    let mut second = stack.envoy_with_part("second", Part::Filter, &yaml).unwrap();
    wait::until("the Envoy in the fleet", || of(&stack, "second")).unwrap();
    for _ in 0..40 {
        assert_eq!(second.get("/").unwrap().status, 500);
    }
    let reason = is_told(&stack, "clients", "errors_unseen", "second");
    assert!(reason.contains("that its filter has not seen"), "{reason}");
    assert_eq!(
        alert(&stack, "errors_unseen", "second").unwrap()["severity"],
        "critical"
    );
    let reason = is_told(&stack, "envoy_configuration", "envoy_configuration_refused", "second");
    assert!(
        reason.contains("extension_config_discovery.http_filter.optimizer"),
        "{reason}"
    );
    is_told(&stack, "filter", "filter_missing", "second");
    let health = stack.rest().document("/health").unwrap();
    assert_eq!(health["status"], "degraded", "{health}");

    // One that is gone as a whole is no fault.
    second.process().kill();
    for (name, rule) in [
        ("clients", "errors_unseen"),
        ("envoy_configuration", "envoy_configuration_refused"),
        ("filter", "filter_missing"),
    ] {
        is_over(&stack, name, rule, "second");
    }
}

fn listener(port: u16, filters: &str) -> String {
    format!(
        r#"resources:
  - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
    name: other
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains: [{{ filters: [{filters}] }}]
"#
    )
}

const SOUND: &str =
    r#"{ name: echo, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo } }"#;

#[test]
fn a_listener_that_envoy_refuses_is_told_whoever_sent_it() {
    let stack = started(&Plan::default());
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    put(folder.path(), "listeners.yaml", &listener(port, SOUND));
    let file = folder.path().join("listeners.yaml");
    let watched = folder.path();
    let yaml = format!(
        "dynamic_resources:\n  lds_config:\n    path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }}\n    resource_api_version: V3",
        file.display(),
        watched.display()
    );
    let second = stack.envoy_with_part("second", Part::Overload, &yaml).unwrap();
    wait::until("the listener", || {
        (second.stat("listener_manager.lds.update_success") > 0).then_some(())
    })
    .unwrap();
    // What was refused before the first statistics came is not known.
    wait::until("the Envoy in the fleet, with its filter and its statistics", || {
        let second = of(&stack, "second")?;
        (second["status"] == "healthy" && second["statistics_at"].is_u64()).then_some(())
    })
    .unwrap();

    put(folder.path(), "listeners.yaml", &listener(port, "{ name: nothing }"));
    let reason = is_told(&stack, "envoy_configuration", "envoy_configuration_refused", "second");
    assert!(reason.contains("listener_manager.lds"), "{reason}");

    put(folder.path(), "listeners.yaml", &listener(free_port().unwrap(), SOUND));
    is_over(&stack, "envoy_configuration", "envoy_configuration_refused", "second");
}

#[test]
fn figures_that_do_not_come_any_more_are_told() {
    let stack = started(&Plan::default());
    wait::until("its statistics", || of(&stack, "envoy")?["statistics_at"].as_u64()).unwrap();
    stack.envoy.freeze();
    let told = is_told(&stack, "figures", "figures_missing", "envoy");
    assert!(told.contains("do not come any more"), "{told}");
    stack.envoy.thaw();
    is_over(&stack, "figures", "figures_missing", "envoy");
}
