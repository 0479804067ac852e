//! Routes that change a request head in every way Envoy knows, on two listeners.

use crate::oracle::configuration::Configuration;
use e2e::Result;
use serde_json::{Value, json};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// A listener's port and the first path segments of its routes.
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) segments: Vec<&'static str>,
}

/// Adds both listeners: a plain one, and one whose route configuration, virtual host and later filters change heads too.
pub(super) fn configure(configuration: &mut Configuration, first: u16) -> Result<[Listener; 2]> {
    let second = configuration.add_listener()?;
    let routes = routes();
    let all: Vec<Value> = routes.iter().map(|(_, route)| route.clone()).collect();
    configuration.set_virtual_hosts(0, json!([{"name": "bare", "domains": ["*"], "routes": all}]));
    let dressed = json!([{
        "name": "dressed",
        "domains": ["*"],
        "routes": all,
        "request_headers_to_add": [added("x-of-host", "%REQ(:authority)%")],
        "request_headers_to_remove": ["x-removed-by-host"],
        "response_headers_to_add": [added("x-answer-of-host", "1")],
        "response_headers_to_remove": ["x-origin-only"],
    }]);
    configuration.set_virtual_hosts(1, dressed);
    let table = &mut configuration.manager(1)["route_config"];
    table["request_headers_to_add"] = json!([added("x-of-table", "%PROTOCOL%")]);
    table["response_headers_to_add"] = json!([added("x-answer-of-table", "1")]);
    configuration.add_filters_behind(1, &[compressor(), mutation()]);
    let segments = || routes.iter().map(|(segment, _)| *segment).collect();
    Ok([first, second].map(|port| Listener {
        port,
        segments: segments(),
    }))
}

fn added(key: &str, value: &str) -> Value {
    json!({"header": {"key": key, "value": value}})
}

/// Changes heads between our filter and the router.
fn mutation() -> Value {
    let set = |key: &str| json!({"append": added(key, "1")});
    json!({"name": "mutation", "typed_config": {
        "@type": format!("{TYPES}.filters.http.header_mutation.v3.HeaderMutation"),
        "mutations": {
            "request_mutations": [set("x-mutated"), {"remove": "x-removed-by-filter"}],
            "response_mutations": [set("x-answer-mutated")],
        },
    }})
}

fn compressor() -> Value {
    json!({"name": "compressor", "typed_config": {
        "@type": format!("{TYPES}.filters.http.compressor.v3.Compressor"),
        "compressor_library": {"name": "gzip", "typed_config": {"@type": format!("{TYPES}.compression.gzip.compressor.v3.Gzip")}},
    }})
}

fn routes() -> Vec<(&'static str, Value)> {
    let route = |segment: &str, action: Value| {
        let mut route = json!({"match": {"prefix": format!("/{segment}/")}, "route": {"cluster": "origin"}});
        let changed = route["route"].as_object_mut().expect("an object");
        changed.extend(action.as_object().expect("an object").clone());
        route
    };
    let swapped = |pattern: &str, to: &str| json!({"pattern": {"regex": pattern}, "substitution": to});
    let with = |mut route: Value, key: &str, value: Value| {
        route[key] = value;
        route
    };
    vec![
        ("none", route("none", json!({}))),
        ("prefix", route("prefix", json!({"prefix_rewrite": "/rewritten/"}))),
        (
            "regex",
            route(
                "regex",
                json!({"regex_rewrite": swapped("^/regex/(.*)$", "/matched/\\1")}),
            ),
        ),
        ("template", template()),
        (
            "literal",
            route("literal", json!({"host_rewrite_literal": "inner.example"})),
        ),
        ("auto", route("auto", json!({"auto_host_rewrite": true}))),
        ("by-field", route("by-field", json!({"host_rewrite_header": "x-host"}))),
        (
            "by-path",
            route(
                "by-path",
                json!({"host_rewrite_path_regex": swapped("^/(.+)/.+/.+$", "\\1.example")}),
            ),
        ),
        (
            "told",
            route(
                "told",
                json!({"host_rewrite_literal": "inner.example", "append_x_forwarded_host": true}),
            ),
        ),
        (
            "retried",
            route(
                "retried",
                json!({"retry_policy": {"retry_on": "5xx", "num_retries": 2}}),
            ),
        ),
        (
            "adds",
            with(
                route("adds", json!({})),
                "request_headers_to_add",
                json!([
                    added("x-added", "1"),
                    added("x-asked", "%REQ(:path)%"),
                    added("x-list", "more")
                ]),
            ),
        ),
        (
            "removes",
            with(
                route("removes", json!({})),
                "request_headers_to_remove",
                json!(["x-list", "user-agent"]),
            ),
        ),
        (
            "answers",
            with(
                with(
                    route("answers", json!({})),
                    "response_headers_to_add",
                    json!([added("x-answer", "1")]),
                ),
                "response_headers_to_remove",
                json!(["x-origin-only"]),
            ),
        ),
    ]
}

fn template() -> Value {
    let of = |kind: &str, config: &str, key: &str, value: &str| json!({"name": kind, "typed_config": {"@type": format!("{TYPES}.path.{kind}.uri_template.v3.{config}"), key: value}});
    json!({
        "match": {"path_match_policy": of("match", "UriTemplateMatchConfig", "path_template", "/template/{rest=**}")},
        "route": {
            "cluster": "origin",
            "path_rewrite_policy": of("rewrite", "UriTemplateRewriteConfig", "path_template_rewrite", "/templated/{rest}"),
        },
    })
}
