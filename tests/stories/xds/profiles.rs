//! Profiles of the connection pools, by what Envoy says it runs and by what the origin sees.

use super::{all_ok, held, plan, started, under_way};
use e2e::bootstrap::Xds;
use e2e::client::Request;
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

fn apply(stack: &Stack, profile: &str) {
    let request = Request::new("POST", &format!("/settings/profile/{profile}?wait=all&timeout=10s"));
    let answer = stack.rest().send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    stack.wait_xds().unwrap();
}

/// The upstream's cluster as Envoy runs it, once it is no longer warming.
fn cluster(stack: &Stack) -> Value {
    wait::until("the cluster active", || {
        let warming = stack.envoy.config_dump("dynamic_warming_clusters").ok()?;
        let active = stack.envoy.config_dump("dynamic_active_clusters").ok()?;
        let none = |dump: &Value| dump["configs"].as_array().is_none_or(Vec::is_empty);
        let found = active["configs"]
            .as_array()?
            .iter()
            .find(|found| found["cluster"]["name"] == "origin")?;
        none(&warming).then(|| found["cluster"].clone())
    })
    .unwrap()
}

#[test]
fn a_profile_is_in_force_and_requests_in_flight_finish() {
    let mut gate = Gate::default();
    let plan = Plan {
        workers: 1,
        ..plan(
            Xds::Delta,
            json!({"max_connections": 1000, "concurrency": {"enabled": false}}),
        )
    };
    let stack = started(&plan, held(&gate));
    let mut before = under_way(&stack, 3);
    wait::until("three requests in flight", || (stack.origin.total() == 3).then_some(())).unwrap();

    for (profile, per_host, idle) in [
        ("high_concurrency", 30, "60s"),
        ("low_latency", 10, "30s"),
        ("bandwidth_optimized", 5, "120s"),
    ] {
        apply(&stack, profile);
        let cluster = cluster(&stack);
        let limit = &cluster["circuit_breakers"]["per_host_thresholds"][0]["max_connections"];
        assert_eq!(*limit, per_host, "{profile}: {cluster}");
        let options =
            &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        assert_eq!(
            options["common_http_protocol_options"]["idle_timeout"], idle,
            "{profile}: {cluster}"
        );
        assert!(
            cluster["upstream_connection_options"]["tcp_keepalive"].is_object(),
            "{profile}: {cluster}"
        );
        let no_delay = &cluster["upstream_bind_config"]["socket_options"][0];
        assert_eq!(
            (&no_delay["description"], &no_delay["int_value"]),
            (&json!("TCP_NODELAY"), &json!("1"))
        );
        let compression = stack.envoy.runtime("api_optimizer.compression").unwrap();
        assert_eq!(compression, (profile == "bandwidth_optimized").to_string());

        // What was under way before the change ends well, and the origin then sees so many connections and no more.
        gate.open();
        all_ok(before);
        gate = Gate::default();
        let behind = gate.clone();
        stack
            .origin
            .script(move |_| Reply::ok("content").header("cache-control", "no-store").behind(&behind));
        let (seen, asked) = (stack.origin.connections(), stack.origin.total());
        before = under_way(&stack, per_host + 5);
        let waiting = || stack.envoy.stat("cluster.origin.upstream_rq_pending_active");
        wait::until("the rest waiting", || (waiting() == 5).then_some(())).unwrap();
        wait::until("the first at the origin", || {
            (stack.origin.total() == asked + per_host).then_some(())
        })
        .unwrap();
        let opened = usize::try_from(stack.origin.connections() - seen).unwrap();
        assert!(
            (1..=per_host).contains(&opened),
            "{profile}: {opened} connections for {per_host}"
        );
        assert_eq!(
            stack.envoy.stat("cluster.origin.upstream_cx_active"),
            per_host as u64,
            "{profile}"
        );
    }
    gate.open();
    all_ok(before);
}

#[test]
fn compression_leaves_the_cache_with_what_the_origin_sent() {
    let content = "compress me ".repeat(400);
    let whole = content.clone();
    let origin = Origin::start(move |_| {
        Reply::ok(whole.clone())
            .header("content-type", "text/plain")
            .max_age(600)
    });
    let stack = started(&plan(Xds::StateOfTheWorld, json!({})), origin.unwrap());
    let ask = |coding: &str| {
        stack
            .envoy
            .fetch(&Request::get("/text").header("accept-encoding", coding))
            .unwrap()
    };
    apply(&stack, "bandwidth_optimized");

    let miss = ask("gzip");
    assert_eq!(miss.header("content-encoding").as_deref(), Some("gzip"), "{miss:?}");
    assert!(miss.body.len() < content.len() / 4);
    let compressed = ask("gzip");
    assert!(compressed.is_hit(), "{}", compressed.cache_status());
    assert_eq!(compressed.header("content-encoding").as_deref(), Some("gzip"));
    assert!(compressed.body.len() < content.len() / 4);
    let plain = ask("identity");
    assert!(plain.is_hit() && plain.header("content-encoding").is_none());
    assert_eq!(plain.text(), content);
    assert_eq!(stack.origin.total(), 1);

    apply(&stack, "low_latency");
    let plain = ask("gzip");
    assert!(plain.is_hit() && plain.header("content-encoding").is_none());
}
