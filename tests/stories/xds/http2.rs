//! An upstream that speaks HTTP/2: how many requests share a connection is a setting.

use super::{all_ok, plan, started, under_way};
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::h2_origin::H2Origin;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

/// The HTTP/2 options of the cluster as Envoy runs it.
fn options(stack: &Stack) -> Option<Value> {
    let active = stack.envoy.config_dump("dynamic_active_clusters").ok()?;
    let mut clusters = active["configs"].as_array()?.iter();
    let cluster = clusters.find(|found| found["cluster"]["name"] == "h2")?;
    let options = &cluster["cluster"]["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    Some(options["explicit_http_config"]["http2_protocol_options"].clone())
}

/// New connections that so many requests at a time need, once the requests before have ended.
fn connections_for(stack: &Stack, origin: &H2Origin, requests: usize) -> usize {
    let (connections, asked) = (origin.connections(), origin.asked());
    origin.gate(false);
    let clients = under_way(stack, requests);
    wait::until("all requests at the origin", || {
        (origin.asked() == asked + requests).then_some(())
    })
    .unwrap();
    let needed = origin.connections() - connections;
    origin.gate(true);
    all_ok(clients);
    needed
}

#[test]
fn requests_share_connections_as_the_settings_say() {
    let origin = H2Origin::start().unwrap();
    let upstream = json!({"name": "h2", "endpoints": [{"address": origin.address().to_string()}], "http2": true});
    let settings = json!({
        "upstreams": [upstream],
        "http2": {"max_concurrent_streams": 2, "keep_alive": false},
        "concurrency": {"enabled": false},
    });
    let plan = Plan {
        workers: 1,
        ..plan(Xds::Delta, settings)
    };
    let stack = started(&plan, Origin::start(|_| Reply::new(500)).unwrap());
    assert_eq!(connections_for(&stack, &origin, 6), 3, "two on each");
    let now = options(&stack).unwrap();
    assert_eq!(
        (&now["max_concurrent_streams"], &now["connection_keepalive"]),
        (&json!(2), &Value::Null)
    );

    // Those under way on the old connections end well; what comes after shares one.
    let asked = origin.asked();
    origin.gate(false);
    let before = under_way(&stack, 4);
    wait::until("four requests under way", || {
        (origin.asked() == asked + 4).then_some(())
    })
    .unwrap();
    let profile = Request::new("POST", "/settings/profile/low_latency?wait=all&timeout=10s");
    let answer = stack.rest().send(&profile).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    stack.wait_xds().unwrap();
    let now = wait::until("the profile in Envoy", || {
        options(&stack).filter(|now| now["max_concurrent_streams"] == 50)
    })
    .unwrap();
    assert_eq!(now["connection_keepalive"]["interval"], "30s", "{now}");
    origin.gate(true);
    all_ok(before);
    assert_eq!(connections_for(&stack, &origin, 20), 1, "twenty on one");
    assert_eq!(connections_for(&stack, &origin, 50), 0, "fifty on the same");
    assert_eq!(connections_for(&stack, &origin, 60), 1, "and the rest on one more");
}
