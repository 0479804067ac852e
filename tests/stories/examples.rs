//! The examples for other people's control planes: they say what our own configuration says, and Envoy takes the parts that are its
//! own. That the objects fit the schemas which Istio and Envoy Gateway publish is for `deploy/checks/examples` to judge; what is
//! checked here is what a later change of ours could break.

use e2e::artefacts;
use e2e::envoy::validate;
use optimizer_proto::settings::{Settings, profile};
use serde_json::{Value, json};

fn objects(name: &str) -> Vec<Value> {
    let path = artefacts::workspace().join("envoy/examples").join(name);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn one<'o>(objects: &'o [Value], version: &str, kind: &str) -> &'o Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "two of {kind}");
    assert_eq!(object["apiVersion"], version, "{kind}");
    assert!(
        object["metadata"]["name"].is_string() && object["spec"].is_object(),
        "{object}"
    );
    object
}

/// The plugin runs our filter under its name, on settings that pass, and speaks to the cluster that the example adds.
fn plugin(name: &str, image: &Value, root: &Value, config: &Value, cluster: &Value) {
    let shipped = std::fs::read_to_string(artefacts::workspace().join("envoy/static.yaml")).unwrap();
    let root = root.as_str().unwrap();
    assert!(shipped.contains(&format!("root_id: {root}\n")), "{name}: {root}");
    let image = image.as_str().unwrap();
    assert!(
        image.starts_with("oci://") && image.contains("/filter:"),
        "{name}: {image}"
    );
    assert_eq!(config["control_cluster"], cluster["name"], "{name}");
    let settings = Settings::parse(&config["settings"]);
    assert!(settings.is_ok(), "{name}: {settings:?}");
}

/// Envoy itself takes the cluster, which leads to the control plane's gRPC port.
fn taken_by_envoy(name: &str, cluster: &Value) {
    let port =
        cluster.pointer("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value");
    assert_eq!(port, Some(&json!(18_000)), "{name}");
    let bootstrap = json!({"static_resources": {"clusters": [cluster]}});
    validate(&bootstrap.to_string()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
}

#[test]
fn the_two_ways_into_istio_say_the_same() {
    let (plugins, extensions) = (objects("istio.yaml"), objects("istio-traffic-extension.yaml"));
    let plugin = one(&plugins, "extensions.istio.io/v1alpha1", "WasmPlugin");
    let extension = one(&extensions, "extensions.istio.io/v1alpha1", "TrafficExtension");
    // What speaks of the module itself has moved into a part of its own.
    let mut spec = extension["spec"].as_object().unwrap().clone();
    let Some(Value::Object(wasm)) = spec.remove("wasm") else {
        panic!("no module")
    };
    spec.extend(wasm);
    assert_eq!(Value::Object(spec), plugin["spec"]);
    assert_eq!(extension["metadata"], plugin["metadata"]);
}

#[test]
fn the_example_for_istio_says_what_ours_says() {
    let objects = objects("istio.yaml");
    assert_eq!(objects.len(), 3);
    let filter = one(&objects, "networking.istio.io/v1alpha3", "EnvoyFilter");
    let patch = &filter["spec"]["configPatches"][0];
    assert_eq!(
        (&patch["applyTo"], &patch["patch"]["operation"]),
        (&json!("CLUSTER"), &json!("ADD"))
    );
    let cluster = &patch["patch"]["value"];
    taken_by_envoy("istio.yaml", cluster);
    let spec = &one(&objects, "extensions.istio.io/v1alpha1", "WasmPlugin")["spec"];
    plugin(
        "istio.yaml",
        &spec["url"],
        &spec["pluginName"],
        &spec["pluginConfig"],
        cluster,
    );
    assert_eq!(spec["failStrategy"], "FAIL_RELOAD");
    assert_eq!(
        spec["selector"]["matchLabels"],
        filter["spec"]["workloadSelector"]["labels"]
    );
    let rule = one(&objects, "networking.istio.io/v1", "DestinationRule");
    let http = &rule["spec"]["trafficPolicy"]["connectionPool"]["http"];
    let ours = &profile("low_latency").unwrap()["http2"];
    assert_eq!(
        (&http["idleTimeout"], &http["maxConcurrentStreams"]),
        (&ours["idle_timeout"], &ours["max_concurrent_streams"])
    );
}

#[test]
fn the_example_for_envoy_gateway_says_what_ours_says() {
    let objects = objects("envoy-gateway.yaml");
    assert_eq!(objects.len(), 5);
    let api = "gateway.envoyproxy.io/v1alpha1";
    let spec = &one(&objects, api, "EnvoyPatchPolicy")["spec"];
    let patch = &spec["jsonPatches"][0];
    assert_eq!(patch["type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    let cluster = &patch["operation"]["value"];
    assert_eq!(
        (&patch["name"], &patch["operation"]["op"]),
        (&cluster["name"], &json!("add"))
    );
    taken_by_envoy("envoy-gateway.yaml", cluster);
    let gateway = spec["targetRef"].clone();
    let spec = &one(&objects, api, "EnvoyExtensionPolicy")["spec"];
    let wasm = &spec["wasm"][0];
    plugin(
        "envoy-gateway.yaml",
        &wasm["code"]["image"]["url"],
        &wasm["rootID"],
        &wasm["config"],
        cluster,
    );
    let traffic = &one(&objects, api, "BackendTrafficPolicy")["spec"];
    for targets in [&spec["targetRefs"], &traffic["targetRefs"]] {
        assert_eq!(*targets, json!([gateway]));
    }
    let ours = &profile("low_latency").unwrap()["http2"];
    assert_eq!(
        (
            &traffic["timeout"]["http"]["connectionIdleTimeout"],
            &traffic["http2"]["maxConcurrentStreams"]
        ),
        (&ours["idle_timeout"], &ours["max_concurrent_streams"])
    );
}
