//! Every operation of the description is there and answers as described; none is described without being tried here.

use crate::description::Description;
use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Method, path of the description, path to ask, body, expected status.
type Example = (&'static str, &'static str, &'static str, &'static str, u16);

/// In this order: the later ones need what the earlier ones did. A second example of an operation shows how it refuses.
const EXAMPLES: &[Example] = &[
    ("get", "/health", "/health", "", 200),
    ("get", "/health/live", "/health/live", "", 200),
    ("get", "/health/ready", "/health/ready", "", 200),
    ("get", "/health/ready", "/health/ready?warm=50", "", 200),
    ("get", "/health/ready", "/health/ready?warm=50&envoy=nobody", "", 503),
    ("get", "/health/ready", "/health/ready?warm=200", "", 400),
    ("get", "/metrics", "/metrics", "", 200),
    ("get", "/metrics/performance", "/metrics/performance?window=1m", "", 200),
    ("get", "/metrics/performance", "/metrics/performance?window=9s", "", 400),
    ("get", "/metrics/errors", "/metrics/errors", "", 200),
    ("get", "/metrics/errors", "/metrics/errors?windows=1m", "", 400),
    ("get", "/metrics/system", "/metrics/system", "", 200),
    ("get", "/metrics/stream", "/metrics/stream", "", 200),
    ("get", "/events", "/events", "", 200),
    (
        "get",
        "/metrics/performance",
        "/metrics/performance?route=default&envoy=nobody",
        "",
        200,
    ),
    ("get", "/alerts/active", "/alerts/active", "", 200),
    ("get", "/alerts/active", "/alerts/active?pending=true", "", 200),
    ("get", "/alerts/history", "/alerts/history", "", 200),
    ("get", "/alerts/silences", "/alerts/silences", "", 200),
    (
        "post",
        "/alerts/silences",
        "/alerts/silences",
        r#"{"name":"cpu_usage","expires_in":"1h"}"#,
        201,
    ),
    (
        "post",
        "/alerts/silences",
        "/alerts/silences",
        r#"{"name":"cpu_usage","expires_in":"1y"}"#,
        422,
    ),
    ("get", "/alerts/silences", "/alerts/silences", "", 200),
    (
        "delete",
        "/alerts/silences/{name}",
        "/alerts/silences/cpu_usage",
        "",
        204,
    ),
    (
        "delete",
        "/alerts/silences/{name}",
        "/alerts/silences/cpu_usage",
        "",
        404,
    ),
    ("post", "/alerts/{id}/ack", "/alerts/none/ack", "", 404),
    ("get", "/cache/stats", "/cache/stats", "", 200),
    ("get", "/cache/invalidation-stats", "/cache/invalidation-stats", "", 200),
    ("get", "/cache/findings", "/cache/findings", "", 200),
    ("delete", "/cache/findings/{id}", "/cache/findings/none", "", 404),
    (
        "patch",
        "/settings",
        "/settings",
        r#"{"quarantine":[{"id":"f1","path_prefix":"/nowhere/","rule":"0","depends_on":["cookie plan"]}]}"#,
        200,
    ),
    ("get", "/cache/findings", "/cache/findings", "", 200),
    ("delete", "/cache/findings/{id}", "/cache/findings/f1", "", 200),
    (
        "get",
        "/cache/explain",
        "/cache/explain?url=http://api.example/stored",
        "",
        200,
    ),
    (
        "get",
        "/cache/explain",
        "/cache/explain?url=http://api.example/none",
        "",
        200,
    ),
    ("get", "/cache/explain", "/cache/explain", "", 400),
    ("get", "/cache/what-if", "/cache/what-if?cache_size=100", "", 200),
    ("get", "/cache/what-if", "/cache/what-if?cache_size=none", "", 400),
    ("post", "/cache/optimize", "/cache/optimize", "", 200),
    ("get", "/operations", "/operations", "", 200),
    ("get", "/operations", "/operations?active=true&key=none", "", 200),
    ("get", "/operations", "/operations?active=perhaps", "", 400),
    ("get", "/operations/{id}", "/operations/none", "", 404),
    ("delete", "/operations/{id}", "/operations/none", "", 404),
    ("get", "/tuning/experiments", "/tuning/experiments", "", 200),
    (
        "post",
        "/tuning/experiments",
        "/tuning/experiments",
        r#"{"settings":{"cache_size":7}}"#,
        409,
    ),
    (
        "post",
        "/tuning/experiments",
        "/tuning/experiments",
        r#"{"from":"what_if","share":99}"#,
        409,
    ),
    (
        "post",
        "/tuning/experiments",
        "/tuning/experiments",
        r#"{"settings":{"cache_size":7},"share":99}"#,
        422,
    ),
    ("get", "/tuning/experiments/{id}", "/tuning/experiments/none", "", 404),
    (
        "delete",
        "/tuning/experiments/{id}",
        "/tuning/experiments/none",
        "",
        404,
    ),
    ("post", "/cache/warm", "/cache/warm?envoy=nobody", "", 404),
    ("post", "/cache/snapshot", "/cache/snapshot", "", 200),
    ("post", "/cache/restore", "/cache/restore", r#"{"no":"snapshot"}"#, 422),
    (
        "post",
        "/cache/purge",
        "/cache/purge?wait=all",
        r#"{"host":"api.example"}"#,
        200,
    ),
    (
        "post",
        "/cache/purge",
        "/cache/purge?dry_run=true",
        r#"{"tags":["a","b"],"all":true}"#,
        200,
    ),
    ("post", "/cache/purge", "/cache/purge", "{}", 422),
    ("get", "/cache/purges", "/cache/purges", "", 200),
    ("get", "/cache/purges/{id}", "/cache/purges/none", "", 404),
    ("get", "/circuit-breaker/status", "/circuit-breaker/status", "", 200),
    ("get", "/circuit-breaker/events", "/circuit-breaker/events", "", 200),
    (
        "post",
        "/circuit-breaker/{upstream}/{action}",
        "/circuit-breaker/origin/force-close?expires_in=10s",
        "",
        200,
    ),
    ("get", "/circuit-breaker/status", "/circuit-breaker/status", "", 200),
    ("get", "/circuit-breaker/audit", "/circuit-breaker/audit", "", 200),
    (
        "post",
        "/circuit-breaker/{upstream}/{action}",
        "/circuit-breaker/origin/explode",
        "",
        404,
    ),
    ("get", "/settings", "/settings", "", 200),
    (
        "patch",
        "/settings",
        "/settings?wait=all&timeout=10s",
        r#"{"cache_size":77}"#,
        200,
    ),
    (
        "patch",
        "/settings",
        "/settings",
        r#"[{"op":"test","path":"/cache_size","value":0}]"#,
        422,
    ),
    ("patch", "/settings", "/settings?wait=some", "{}", 400),
    ("patch", "/settings", "/settings?canary=100", "{}", 400),
    ("patch", "/settings", "/settings", "", 422),
    ("put", "/settings", "/settings", r#"{"cache_size":78}"#, 200),
    ("put", "/settings", "/settings", r#"{"cache_sizes":78}"#, 422),
    ("put", "/settings", "/settings", "{", 422),
    (
        "patch",
        "/settings",
        "/settings?dry_run=true",
        r#"{"cache_size":"90.7","breaker":{"open_wait":"7s"}}"#,
        200,
    ),
    ("get", "/settings/schema", "/settings/schema", "", 200),
    ("get", "/settings/profiles", "/settings/profiles", "", 200),
    (
        "post",
        "/settings/profile/{name}",
        "/settings/profile/low_latency?dry_run=true",
        "",
        200,
    ),
    ("post", "/settings/profile/{name}", "/settings/profile/none", "", 404),
    (
        "get",
        "/settings/history",
        "/settings/history?limit=2&documents=true",
        "",
        200,
    ),
    ("get", "/settings/history", "/settings/history?format=ndjson", "", 200),
    ("get", "/settings/history", "/settings/history?format=xml", "", 400),
    ("get", "/settings/history/{revision}", "/settings/history/2", "", 200),
    ("get", "/settings/history/{revision}", "/settings/history/999", "", 404),
    (
        "post",
        "/settings/rollback",
        "/settings/rollback",
        r#"{"revision":1}"#,
        200,
    ),
    ("post", "/settings/rollback", "/settings/rollback", r#"{"to":1}"#, 422),
    ("get", "/settings/canary", "/settings/canary", "", 200),
    ("post", "/settings/canary/promote", "/settings/canary/promote", "", 409),
    ("patch", "/settings", "/settings?canary=50", r#"{"cache_size":79}"#, 200),
    ("get", "/settings/canary", "/settings/canary", "", 200),
    ("get", "/settings/rollout", "/settings/rollout", "", 200),
    ("patch", "/settings", "/settings", r#"{"cache_size":80}"#, 409),
    (
        "post",
        "/settings/canary/promote",
        "/settings/canary/promote?dry_run=true",
        "",
        200,
    ),
    (
        "post",
        "/settings/canary/promote",
        "/settings/canary/promote?wait=all&timeout=10s",
        "",
        200,
    ),
    ("post", "/settings/canary/abort", "/settings/canary/abort", "", 409),
    ("patch", "/settings", "/settings?canary=50", r#"{"cache_size":81}"#, 200),
    (
        "post",
        "/settings/canary/abort",
        "/settings/canary/abort?reason=tried",
        "",
        200,
    ),
    ("get", "/settings/rollout", "/settings/rollout", "", 200),
    ("get", "/fleet", "/fleet", "", 200),
    ("get", "/fleet/health", "/fleet/health", "", 200),
    ("get", "/cache/tier", "/cache/tier", "", 200),
    ("put", "/filter/modules", "/filter/modules", "no module", 422),
    ("get", "/filter/modules/{sha256}", "/filter/modules/none", "", 404),
    ("get", "/filter/rollout", "/filter/rollout", "", 200),
    ("post", "/filter/rollout", "/filter/rollout", r#"{"colour":"red"}"#, 422),
    ("post", "/filter/rollout/promote", "/filter/rollout/promote", "", 409),
    ("post", "/filter/rollout/abort", "/filter/rollout/abort", "", 409),
];

#[test]
fn every_operation_answers_as_described() {
    let origin = Origin::start(|_| Reply::ok("content").max_age(600)).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    stack.envoy.get("/stored").unwrap();
    // What the breaker and the figures are asked about must have been reported.
    wait::until("the request in the figures", || {
        (stack.rest().document("/metrics/performance").unwrap()["sample_count"] == 1).then_some(())
    })
    .unwrap();
    let description = Description(stack.rest().document("/openapi.json").unwrap());
    let mut ids = BTreeSet::new();
    let mut untried: BTreeMap<(String, String), &Value> = BTreeMap::new();
    for (path, item) in description.0["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let in_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                let places: &[&str] = if in_path { &["path"] } else { &["query", "header"] };
                assert!(
                    places.iter().any(|place| parameter["in"] == *place),
                    "{method} {path}: {parameter}"
                );
            }
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} names two operations");
            untried.insert((method.clone(), path.clone()), operation);
        }
    }
    let operations = untried.clone();
    for &(method, path, ask, body, expected) in EXAMPLES {
        let operation = (method.to_owned(), path.to_owned());
        assert!(operations.contains_key(&operation), "{method} {path} is not described");
        untried.remove(&(method.to_owned(), path.to_owned()));
        let request = Request::new(&method.to_uppercase(), ask).body(body);
        if ["/events", "/metrics/stream"].contains(&path) {
            let mut stream = Connection::open(stack.rest().address()).unwrap();
            stream
                .send(format!("GET {ask} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
                .unwrap();
            let begin = String::from_utf8_lossy(&stream.read_at_least(100).unwrap()).into_owned();
            assert!(
                begin.starts_with("HTTP/1.1 200") && begin.to_lowercase().contains("text/event-stream"),
                "{begin}"
            );
            continue;
        }
        let answer = stack.rest().send(&request).unwrap();
        assert_eq!(answer.status, expected, "{method} {ask}: {}", answer.text());
        let not_ready = path == "/health/ready" && answer.status == 503;
        if answer.status >= 400 && !not_ready {
            let kind = answer.header("content-type").unwrap_or_default();
            assert_eq!(kind, "application/problem+json", "{method} {ask}");
            assert_eq!(answer.json().unwrap()["status"], answer.status);
        }
        description.judge(method, path, &answer);
    }
    assert!(untried.is_empty(), "described but not tried: {:?}", untried.keys());
    assert_eq!(description.0["openapi"], "3.1.0");
}

#[test]
fn another_field_and_a_missing_one_are_not_as_described() {
    let stack = Stack::start(&Plan::default(), Origin::start(|_| Reply::ok("")).unwrap()).unwrap();
    let description = Description(stack.rest().document("/openapi.json").unwrap());
    let kind = "application/json";
    let judged = |path: &str, document: &Value| description.faults("get", path, 200, kind, document);
    for path in ["/health", "/metrics/performance", "/cache/stats", "/settings/rollout"] {
        let sound = stack.rest().document(path).unwrap();
        assert_eq!(judged(path, &sound), Vec::<String>::new(), "{path}");
        let mut more = sound.clone();
        more["another"] = json!(1);
        assert!(!judged(path, &more).is_empty(), "{path}");
        for field in sound.as_object().unwrap().keys() {
            let mut less = sound.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(!judged(path, &less).is_empty(), "{path} without {field}");
        }
    }
}

/// The pages hold no address of another host in anything that a browser loads.
#[test]
fn the_pages_at_docs_need_no_internet() {
    let stack = Stack::start(&Plan::default(), Origin::start(|_| Reply::ok("")).unwrap()).unwrap();
    let page = stack.rest().get("/docs/").unwrap().text();
    let mut files = 0;
    for part in page.split(['"', '\'']) {
        let loads = [".js", ".css", ".png"].iter().any(|end| part.ends_with(end));
        if loads {
            assert!(!part.contains("//"), "{part} is elsewhere");
            let file = stack
                .rest()
                .get(&format!("/docs/{}", part.trim_start_matches("./")))
                .unwrap();
            assert_eq!(file.status, 200, "{part}");
            files += 1;
        }
    }
    assert!(files >= 3, "{page}");
    let start = stack.rest().get("/docs/swagger-initializer.js").unwrap().text();
    assert!(
        start.contains("/openapi.json") && !start.contains("https://"),
        "{start}"
    );
    assert_eq!(
        stack.rest().document("/openapi.json").unwrap()["info"]["title"],
        json!("API Latency Optimizer")
    );
}
