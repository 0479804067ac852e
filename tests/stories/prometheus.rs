//! A real Prometheus scrapes the control plane and Envoy, and tells the same as both.

use e2e::artefacts::Shell;
use e2e::client::{Connection, Request};
use e2e::collector::Collector;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

/// The shipped configuration with other targets and a quicker pulse.
fn prometheus(control: SocketAddr, envoy: SocketAddr, folder: &Path) -> (Process, Rest) {
    let deploy = artefacts::workspace().join("deploy");
    let mut text = std::fs::read_to_string(deploy.join("prometheus/standalone.yml")).unwrap();
    for (from, to) in [
        ("localhost:8080", control.to_string()),
        ("localhost:9901", envoy.to_string()),
        ("../alerts/", deploy.join("alerts/").display().to_string()),
        ("scrape_interval: 5s", "scrape_interval: 1s".to_owned()),
        ("scrape_timeout: 4s", "scrape_timeout: 1s".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let configuration = folder.join("prometheus.yml");
    std::fs::write(&configuration, text).unwrap();
    let port = free_port().unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--enable-feature=exemplar-storage")
        .arg("--log.level=error");
    let process = Process::start("Prometheus", &mut command, &folder.join("prometheus.log"))
        .expect("a Prometheus (Debian: prometheus)");
    (process, Rest::new((Ipv4Addr::LOCALHOST, port).into()))
}

/// The value of a query that has one.
fn value(prometheus: &Rest, query: &str) -> Option<f64> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = prometheus.document(&format!("/api/v1/query?query={encoded}")).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_sees_every_request_on_both_sides_and_answers_the_dashboards() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(|request| {
        if request.path.starts_with("/bad") {
            Reply::new(503)
        } else {
            Reply::ok("x").max_age(600)
        }
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let (_process, prometheus) = prometheus(stack.rest().address(), stack.envoy.admin_address(), folder.path());
    let mut connection = Connection::open(stack.envoy.address()).unwrap();
    for at in 0..95 {
        connection
            .exchange(&Request::get(&format!("/page/{}", at % 5)))
            .unwrap();
    }
    for at in 0..5 {
        connection.exchange(&Request::get(&format!("/bad/{at}"))).unwrap();
    }
    for (query, expected) in [
        ("sum(up)", 2.0),
        (r#"sum(api_optimizer_requests_total{job="api-optimizer"})"#, 100.0),
        (
            r#"sum({__name__=~"api_optimizer_requests_.*_total",job="api-optimizer-envoy"})"#,
            100.0,
        ),
        (r#"api_optimizer_requests_total{outcome="hit"}"#, 90.0),
        (r#"api_optimizer_requests_hit_total{job="api-optimizer-envoy"}"#, 90.0),
        (r#"api_optimizer_upstream_errors_total{type="upstream_5xx"}"#, 5.0),
        (
            r#"api_optimizer_upstream_errors_upstream_5xx_total{job="api-optimizer-envoy"}"#,
            5.0,
        ),
        (r#"sum(api_optimizer_client_latency_seconds_bucket{le="+Inf"})"#, 100.0),
        (r#"sum(api_optimizer_client_latency_seconds_count)"#, 100.0),
        (r#"api_optimizer_request_duration_seconds_count"#, 100.0),
        (r#"sum(api_optimizer_breaker_state)"#, 1.0),
        (r#"api_optimizer_breaker_state{state="closed"}"#, 1.0),
        (r#"api_optimizer_build_info"#, 1.0),
    ] {
        let mut last = None;
        wait::until(&format!("{query} = {expected}"), || {
            last = value(&prometheus, query);
            last.filter(|value| (value - expected).abs() < 1e-9)
        })
        .unwrap_or_else(|failure| panic!("{failure}; last {last:?}"));
    }
    for query in [
        r#"api_optimizer_request_duration_seconds{quantile="0.95"} > 0"#,
        r#"api_optimizer_filter_overhead_seconds{quantile="0.99"} > 0"#,
        r#"sum(api_optimizer_http_requests_total{path="/metrics",code="200"}) > 0"#,
        "process_resident_memory_bytes{job=\"api-optimizer\"} > 1e6",
        "process_open_fds{job=\"api-optimizer\"} > 3",
    ] {
        wait::until(query, || value(&prometheus, query)).unwrap();
    }

    if Shell::asked_for().unwrap() == Shell::Native {
        // The dashboards ask for the VMs that Envoy has made, too.
        return promtool(&stack.rest().get("/metrics").unwrap().text());
    }
    let live = Command::new("python3")
        .arg(artefacts::workspace().join("deploy/checks/live.py"))
        .args([
            stack.rest().address().to_string(),
            stack.envoy.admin_address().to_string(),
            "60".to_owned(),
        ])
        .output()
        .unwrap();
    assert!(live.status.success(), "{}", String::from_utf8_lossy(&live.stderr));
    promtool(&stack.rest().get("/metrics").unwrap().text());
}

#[test]
fn prometheus_gets_the_traces_of_requests_as_exemplars() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().unwrap();
    let plan = Plan {
        collector: Some(collector.port()),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("x")).unwrap()).unwrap();
    let (_process, prometheus) = prometheus(stack.rest().address(), stack.envoy.admin_address(), folder.path());
    let traced = Request::get("/settings").header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(stack.rest().send(&traced).unwrap().status, 200);
    let line = format!("# {{trace_id=\"{TRACE}\"}} ");
    let wanted = Request::get("/metrics").header("accept", "application/openmetrics-text; version=1.0.0");
    let answer = stack.rest().send(&wanted).unwrap();
    let kind = answer.header("content-type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let text = answer.text();
    assert!(text.contains(&line) && text.ends_with("# EOF\n"), "{text}");
    let classic = stack.rest().get("/metrics").unwrap();
    assert!(
        classic
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(!classic.text().contains(" # {") && !classic.text().contains("# EOF"));

    let name = "api_optimizer_http_request_duration_seconds_bucket";
    wait::until("the trace at Prometheus", || {
        let asked = format!("/api/v1/query_exemplars?query={name}&start=0&end=9999999999");
        let found = prometheus.document(&asked).ok()?;
        found["data"].to_string().contains(TRACE).then_some(())
    })
    .unwrap();
    // The series are the same by either format, and none is refused.
    let count = r#"sum(api_optimizer_http_request_duration_seconds_bucket{le="1",path="/settings"}) > 0"#;
    wait::until(count, || value(&prometheus, count)).unwrap();
    wait::until("both targets up", || value(&prometheus, "sum(up) == 2")).unwrap();
}

/// The judge of good names, units and labels.
fn promtool(exposition: &str) {
    let mut judge = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian: prometheus)");
    judge.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let judged = judge.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned() + &String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success() && said.trim().is_empty(), "{said}");
}
