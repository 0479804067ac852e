//! The order of the filters in an Envoy of Envoy Gateway or Istio, with what the examples say about it: worked out as these do it.

use e2e::artefacts;
use e2e::envoy::validate;
use serde_json::{Value, json};

const WASM: &str = "envoy.filters.http.wasm";

/// What may refuse a request, keeps count of it, or answers for the origin that a page comes from; and what has to see the response last.
const GUARDS: [&str; 10] = [
    "cors",
    "ext_authz",
    "api_key_auth",
    "basic_auth",
    "oauth2",
    "jwt_authn",
    "rbac",
    "local_ratelimit",
    "ratelimit",
    "compressor",
];

/// Envoy Gateway's filters in its own order (`newOrderedHTTPFilter` in its `internal/xds/translator/httpfilters.go`).
const ENVOY_GATEWAY: [&str; 21] = [
    "custom_response",
    "health_check",
    "fault",
    "cors",
    "header_mutation",
    "ext_authz",
    "api_key_auth",
    "basic_auth",
    "oauth2",
    "jwt_authn",
    "stateful_session",
    "lua",
    "ext_proc",
    "wasm",
    "rbac",
    "local_ratelimit",
    "ratelimit",
    "grpc_web",
    "credential_injector",
    "compressor",
    "router",
];

fn objects(name: &str) -> Vec<Value> {
    let path = artefacts::workspace().join("envoy/examples").join(name);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Moves filters as Envoy Gateway does: by each rule in turn those of a name before the first, or behind the last, of another name. A
/// rule about a filter that is not there does nothing.
fn ordered(mut filters: Vec<String>, rules: &Value) -> Vec<String> {
    for rule in rules.as_array().unwrap() {
        let name = rule["name"].as_str().unwrap();
        let (moved, mut rest): (Vec<String>, Vec<String>) =
            filters.iter().cloned().partition(|filter| filter.starts_with(name));
        let at = match (rule["before"].as_str(), rule["after"].as_str()) {
            (Some(before), None) => rest.iter().position(|filter| filter.starts_with(before)),
            (None, Some(after)) => rest
                .iter()
                .rposition(|filter| filter.starts_with(after))
                .map(|at| at + 1),
            _ => panic!("{rule}: one of before and after"),
        };
        if let Some(at) = at {
            rest.splice(at..at, moved);
            filters = rest;
        }
    }
    filters
}

fn place(filters: &[String], name: &str) -> Option<usize> {
    filters
        .iter()
        .position(|filter| *filter == format!("envoy.filters.http.{name}"))
}

#[test]
fn in_envoy_gateway_every_guard_stands_before_the_cache() {
    let objects = objects("envoy-gateway.yaml");
    let proxy = of_kind(&objects, "EnvoyProxy")[0];
    let gateway = of_kind(&objects, "Gateway")[0];
    let attached = &gateway["spec"]["infrastructure"]["parametersRef"];
    assert_eq!(
        *attached,
        json!({"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": proxy["metadata"]["name"]})
    );
    assert_eq!(gateway["metadata"]["namespace"], proxy["metadata"]["namespace"]);
    for policy in of_kind(&objects, "EnvoyExtensionPolicy") {
        assert_eq!(policy["spec"]["targetRefs"][0]["name"], gateway["metadata"]["name"]);
    }

    let rules = &proxy["spec"]["filterOrder"];
    let whole: Vec<String> = ENVOY_GATEWAY.map(|name| format!("envoy.filters.http.{name}")).to_vec();
    assert!(place(&whole, "rbac") > place(&whole, "wasm"), "what the rules are for");
    // With every filter, and without each one of the guards: no rule may hang on another filter.
    for missing in [None].into_iter().chain(GUARDS.map(Some)) {
        let there = |filter: &String| missing.is_none_or(|missing| !filter.ends_with(&format!(".{missing}")));
        let filters = ordered(whole.iter().filter(|filter| there(filter)).cloned().collect(), rules);
        let cache = place(&filters, "wasm").unwrap();
        for guard in GUARDS.iter().filter(|guard| Some(**guard) != missing) {
            assert!(
                place(&filters, guard).unwrap() < cache,
                "{guard} without {missing:?}: {filters:?}"
            );
        }
        // The rest of the order is Envoy Gateway's: who somebody is, is found out before what he may do.
        for (first, second) in [("jwt_authn", "rbac"), ("jwt_authn", "ext_proc"), ("rbac", "ratelimit")] {
            let (first, second) = (place(&filters, first), place(&filters, second));
            assert!(first.is_none() || second.is_none() || first < second, "{filters:?}");
        }
        assert!(filters.last().unwrap().ends_with(".router"));
    }
}

/// The filters of an inbound listener of Istio's (`buildHTTPConnectionManager` in its `pilot/pkg/networking/core/listener_builder.go`),
/// with a Wasm plugin of `phase`.
fn istio(phase: &str) -> Vec<String> {
    let mut filters = vec!["istio.metadata_exchange", "envoy.filters.http.ext_authz"];
    let wasm = |here: &str| (here == phase).then_some(WASM);
    filters.extend(wasm("AUTHN"));
    filters.push("envoy.filters.http.jwt_authn");
    filters.extend(wasm("AUTHZ"));
    filters.push("envoy.filters.http.rbac");
    filters.extend(wasm("STATS").or(wasm("UNSPECIFIED_PHASE")));
    filters.extend([
        "istio.grpc_stats",
        "envoy.filters.http.fault",
        "envoy.filters.http.cors",
        "istio.stats",
        "envoy.filters.http.router",
    ]);
    filters.into_iter().map(str::to_owned).collect()
}

#[test]
fn in_istio_authorization_and_cors_stand_before_the_cache() {
    let objects = objects("istio.yaml");
    let plugin = of_kind(&objects, "WasmPlugin")[0];
    let mut filters = istio(plugin["spec"]["phase"].as_str().unwrap());
    let mut inserted = Vec::new();
    for patch in of_kind(&objects, "EnvoyFilter")[0]["spec"]["configPatches"]
        .as_array()
        .unwrap()
    {
        if patch["applyTo"] == "HTTP_FILTER" {
            assert_eq!(patch["patch"]["operation"], "INSERT_FIRST");
            assert_eq!(patch["match"]["context"], "SIDECAR_INBOUND");
            let manager = "envoy.filters.network.http_connection_manager";
            assert_eq!(patch["match"]["listener"]["filterChain"]["filter"]["name"], manager);
            inserted.push(patch["patch"]["value"].clone());
            filters.insert(0, patch["patch"]["value"]["name"].as_str().unwrap().to_owned());
        }
    }
    let cache = filters.iter().position(|filter| filter == WASM).unwrap();
    for guard in ["cors", "ext_authz", "jwt_authn", "rbac"] {
        assert!(place(&filters, guard).unwrap() < cache, "{guard}: {filters:?}");
    }
    // Envoy takes the filter, and a second one of its name behind it.
    let mut chain = [inserted.clone(), inserted].concat();
    chain.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }));
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
        ]}]},
        "http_filters": chain,
    });
    let listener = json!({
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        ]}],
    });
    let bootstrap = json!({"static_resources": {"listeners": [listener]}});
    validate(&bootstrap.to_string()).unwrap_or_else(|refusal| panic!("{refusal}"));
}
