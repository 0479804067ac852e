//! Every request is counted once, whatever happens to the control plane, and every view tells of the same requests.

use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::{Result, wait};
use serde_json::{Value, json};
use std::process::Command;

fn origin() -> Origin {
    Origin::start(|request| {
        if request.path.starts_with("/bad") {
            Reply::new(500)
        } else {
            Reply::ok("content").max_age(600)
        }
    })
    .unwrap()
}

/// Asks for one page after another: the first time each is a miss, later a hit.
fn ask(stack: &Stack, requests: usize) {
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    for at in 0..requests {
        let answer = connection.exchange(&Request::get(&format!("/page/{}", at % 10)));
        assert_eq!(answer.unwrap().status, 200);
    }
}

fn counted(stack: &Stack, requests: u64) -> Value {
    let mut last = Value::Null;
    wait::until(&format!("{requests} requests counted"), || {
        last = stack.rest().document("/metrics/performance?window=1h").ok()?;
        (last["sample_count"].as_u64()? >= requests).then_some(())
    })
    .unwrap_or_else(|failure| panic!("{failure}: {last}"));
    last
}

fn reports(stack: &Stack) -> Result<u64> {
    let text = stack.rest().get("/metrics")?.text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("api_optimizer_telemetry_reports_total{result=\"merged\"} "));
    Ok(line.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// The filter has been told that what it reported so far has arrived.
fn wait_for_more_reports(stack: &Stack) {
    let before = reports(stack).unwrap();
    wait::until("two more reports", || {
        (reports(stack).ok()? >= before + 2).then_some(())
    })
    .unwrap();
}

#[test]
fn every_request_is_counted_across_an_outage_of_the_control_plane() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    ask(&stack, 100);
    stack.control().process().unwrap().freeze();
    ask(&stack, 150);
    // Longer than it takes the filter to give the stream up, so that reports wait and are merged.
    wait::until("the stream given up", || {
        (stack.envoy.stat("cluster.control_plane.upstream_cx_active") == 0).then_some(())
    })
    .unwrap();
    ask(&stack, 70);
    stack.control().process().unwrap().thaw();
    ask(&stack, 30);
    let figures = counted(&stack, 350);
    assert_eq!(figures["sample_count"], 350, "{figures}");
    assert_eq!(
        (&figures["outcomes"]["miss"], &figures["outcomes"]["hit"]),
        (&json!(10), &json!(340)),
        "{figures}"
    );

    wait_for_more_reports(&stack);
    stack.control().kill();
    ask(&stack, 120);
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    stack.wait_connected().unwrap();
    ask(&stack, 80);
    let figures = counted(&stack, 200);
    assert_eq!(figures["sample_count"], 200, "since the new process: {figures}");
    wait_for_more_reports(&stack);
    assert_eq!(counted(&stack, 200)["sample_count"], 200, "and not twice");

    let own = stack.envoy.stats("api_optimizer_requests_");
    assert_eq!(
        own.values().sum::<u64>(),
        550,
        "Envoy's statistics know all of them: {own:?}"
    );
}

#[test]
fn every_figure_can_be_asked_for_by_window_route_upstream_and_envoy() {
    let settings = json!({"routes": [{"name": "shop", "path_prefix": "/page"}]});
    let stack = Stack::start(
        &Plan {
            settings,
            ..Plan::default()
        },
        origin(),
    )
    .unwrap();
    let routes = json!({"routes": [{"name": "shop", "path_prefix": "/page"}], "breaker": {"enabled": false}});
    stack.change_settings(&routes).unwrap();
    ask(&stack, 40);
    for at in 0..10 {
        assert_eq!(stack.envoy.get(&format!("/bad/{at}")).unwrap().status, 500);
    }
    counted(&stack, 50);
    let rest = stack.rest();
    let of = |path: &str, query: &str| rest.document(&format!("{path}?window=1h&{query}")).unwrap();
    for (query, samples, hit_ratio, error_rate) in [
        ("", 50, 60.0, 20.0),
        ("envoy=envoy", 50, 60.0, 20.0),
        ("envoy=nobody", 0, 100.0, 0.0),
        ("route=shop", 40, 75.0, 0.0),
        ("route=default", 10, 0.0, 100.0),
        ("upstream=origin&route=shop", 40, 75.0, 0.0),
        ("upstream=nothing", 0, 100.0, 0.0),
    ] {
        let view = of("/metrics/performance", query);
        assert_eq!(view["sample_count"], samples, "{query}: {view}");
        assert_eq!(view["error_rate"].as_f64(), Some(error_rate), "{query}: {view}");
        // Errors are no lookups that found nothing: of the whole, ten misses of fifty are such.
        if query.contains("shop") || samples == 0 {
            assert_eq!(view["cache_hit_ratio"].as_f64(), Some(hit_ratio), "{query}: {view}");
        }
        assert_eq!(view["window"], "3600s");
    }
    let view = of("/metrics/performance", "route=shop");
    let number = |name: &str| view[name].as_f64().unwrap_or(-1.0);
    assert!(
        number("p50_latency_hit") > 0.0 && number("p50_latency_miss") > number("p50_latency_hit"),
        "{view}"
    );
    assert!(number("latency_saved") > 0.0, "{view}");
    assert!(number("p99_latency") >= number("p50_latency"), "{view}");
    // A hit knows its upstream, whichever worker answered; every forwarded call but the first of a worker reuses a connection.
    assert_eq!(
        (number("sample_count_hit"), number("sample_count_miss")),
        (30.0, 10.0),
        "{view}"
    );
    let reuse = of("/metrics/performance", "upstream=origin")["connection_reuse_rate"].as_f64();
    assert!(reuse.is_some_and(|reuse| reuse > 0.0 && reuse < 100.0), "{reuse:?}");

    let errors = of("/metrics/errors", "upstream=origin");
    assert_eq!(errors["errors_by_type"]["upstream_5xx"], 10, "{errors}");
    assert_eq!(errors["details"]["upstream_5xx"]["upstreams"], json!(["origin"]));
    assert!(
        errors["details"]["upstream_5xx"]["last_seen"].as_u64().unwrap() > 0
            && errors["errors_by_type"]["timeout"] == 0
    );
    assert_eq!(
        of("/metrics/errors", "upstream=nothing")["errors_by_type"]["upstream_5xx"],
        0
    );
    for path in ["/metrics/system", "/cache/stats", "/cache/invalidation-stats"] {
        let view = of(path, "envoy=envoy&route=shop&upstream=origin");
        assert_eq!(
            view["filter"],
            json!({"envoy": "envoy", "route": "shop", "upstream": "origin"}),
            "{path}"
        );
        assert_eq!(
            rest.get(&format!("{path}?window=1parsec")).unwrap().status,
            400,
            "{path}"
        );
    }
    // The time inside the filter is taken of one request in eight.
    wait::until("the filter's own time", || {
        stack.envoy.get("/page/1").ok()?;
        let overhead = of("/metrics/performance", "")["filter_overhead_p99"].as_f64();
        overhead.filter(|overhead| *overhead > 0.0)
    })
    .unwrap();
}

#[test]
fn the_share_of_http_2_is_measured() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    wait::until("Envoy's own statistics", || {
        let system = stack.rest().document("/metrics/system").ok()?;
        (system["envoys"].as_array()?.len() == 1).then_some(())
    })
    .unwrap();
    ask(&stack, 60);
    for at in 0..20 {
        let url = format!("http://{}/page/{}", stack.envoy.address(), at % 10);
        let done = Command::new("curl")
            .args(["--http2-prior-knowledge", "--silent", "--show-error", "--fail"])
            .args(["--output", "/dev/null", "--write-out", "%{http_version}", &url])
            .output()
            .expect("curl (Debian: curl)");
        assert_eq!(done.stdout, b"2", "{done:?}");
    }
    let figures = wait::until("the share of HTTP/2", || {
        let figures = stack.rest().document("/metrics/performance").ok()?;
        let whole = figures["sample_count"] == 80 && figures["sources"]["http2_adoption_rate"] == "envoy";
        (whole && figures["http2_adoption_rate"] == 25).then_some(figures)
    })
    .unwrap();
    let by_filter = stack.rest().document("/metrics/performance?route=default").unwrap();
    assert_eq!(by_filter["sources"]["http2_adoption_rate"], "filter", "{by_filter}");
    let sampled = by_filter["http2_adoption_rate"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&sampled), "{figures} {by_filter}");
}
