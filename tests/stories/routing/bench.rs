//! An Envoy with routes of a story's own, in front of an origin that says what it was asked.

use e2e::bootstrap::Part;
use e2e::client::{Request, Response};
use e2e::origin::{Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use serde_json::{Value, json};

/// An origin that answers with its name, and with host and path as it was asked. `n` counts its answers.
pub(super) fn origin(name: &'static str, shape: impl Fn(&Received, Reply) -> Reply + Send + Sync + 'static) -> Origin {
    Origin::start(move |request| {
        let body = json!({
            "origin": name,
            "host": request.header("host").unwrap_or_default(),
            "path": request.path,
            "proto": request.header("x-forwarded-proto").unwrap_or_default(),
        });
        shape(
            request,
            Reply::ok(body.to_string()).header("content-type", "application/json"),
        )
    })
    .unwrap()
}

/// As above, and everything is fresh for ten minutes.
pub(super) fn fresh_origin(name: &'static str) -> Origin {
    origin(name, |_, reply| reply.max_age(600))
}

pub(super) fn plan(parts: &[(Part, &str)]) -> Plan {
    Plan {
        control_plane: false,
        parts: parts.iter().map(|(part, yaml)| (*part, (*yaml).to_owned())).collect(),
        ..Plan::default()
    }
}

pub(super) fn start(parts: &[(Part, &str)], origin: Origin) -> Stack {
    Stack::start(&plan(parts), origin).unwrap()
}

/// A cluster of one endpoint.
pub(super) fn cluster(name: &str, origin: &Origin) -> String {
    let port = origin.address().port();
    format!(
        "- name: {name}\n  type: STATIC\n  connect_timeout: 1s\n  load_assignment:\n    cluster_name: {name}\n    endpoints:\n    \
         - lb_endpoints:\n      - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}\n"
    )
}

pub(super) fn ask(stack: &Stack, path: &str, fields: &[(&str, &str)]) -> Response {
    let request = fields
        .iter()
        .fold(Request::get(path), |request, (name, value)| request.header(name, value));
    stack.envoy.fetch(&request).unwrap()
}

/// One property of what the origin was asked.
pub(super) fn said(answer: &Response, name: &str) -> String {
    let body: Value = answer.json().unwrap_or_default();
    body[name].as_str().unwrap_or_default().to_owned()
}
