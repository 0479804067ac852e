use super::*;

fn counted(requests: u64, http2: u64, upstream: u64, connections: u64) -> Counters {
    Counters {
        requests,
        http2_requests: http2,
        upstream_requests: upstream,
        upstream_connections: connections,
        ..Counters::default()
    }
}

fn all(counters: Counters, gauges: Gauges) -> Statistics {
    Statistics {
        counters,
        gauges,
        state: State::default(),
    }
}

#[test]
fn growth_counts_and_a_restart_does_not_count_backwards() {
    let mut stats = EnvoyStats::default();
    stats.report("a", all(counted(1_000, 0, 500, 5), Gauges::default()), 10_000);
    assert_eq!(
        stats.recent(60_000, 10_000),
        Counters::default(),
        "what came before is unknown"
    );
    stats.report("a", all(counted(1_100, 40, 600, 10), Gauges::default()), 11_000);
    let recent = stats.recent(60_000, 11_000);
    assert_eq!((recent.requests, recent.http2_requests), (100, 40));
    assert!((recent.http2_adoption() - 40.0).abs() < 1e-9 && (recent.connection_reuse() - 95.0).abs() < 1e-9);
    stats.report("a", all(counted(10, 0, 0, 0), Gauges::default()), 12_000);
    assert_eq!(stats.recent(60_000, 12_000).requests, 110);
    assert_eq!(stats.recent(60_000, 200_000).requests, 0);
}

#[test]
fn envoys_and_their_upstreams_are_bounded() {
    let mut stats = EnvoyStats::default();
    let nodes = (0..19_999).map(|number| (number.to_string(), Node::default()));
    stats.nodes = nodes.collect();
    for name in ["one", "too many", "one"] {
        stats.report(name, Statistics::default(), 0);
    }
    assert_eq!(stats.nodes.len(), 20_000);
    assert!(stats.nodes.contains_key("one"));
    let mut read = Statistics::default();
    for number in 0..300 {
        read.take(&format!("cluster.c{number}.upstream_cx_active"), 1);
    }
    assert_eq!(read.gauges.upstreams.len(), 256);
}

#[test]
fn gauges_of_an_envoy_that_vanished_are_gone() {
    let mut stats = EnvoyStats::default();
    let open = |api: u64, other: u64| Gauges {
        upstreams: BTreeMap::from([("api".to_owned(), api), ("a.b".to_owned(), other)]),
        ..Gauges::default()
    };
    stats.report("a", all(Counters::default(), open(3, 16)), 0);
    stats.report("b", all(Counters::default(), open(8, 2)), 10_000);
    let fullest = |filter: &Filter, now_ms| stats.fullest(None, filter, 20, now_ms).unwrap();
    let worst = fullest(&Filter::default(), 10_000);
    assert_eq!((worst.node.as_str(), worst.upstream.as_str()), ("a", "a.b"));
    assert!((worst.percent - 80.0).abs() < 1e-9);
    assert_eq!(fullest(&Filter::default(), 15_000).node, "b", "the other one is gone");
    let api = Filter {
        upstream: Some("api".to_owned()),
        ..Filter::default()
    };
    assert_eq!(fullest(&api, 10_000).upstream, "api");
    assert_eq!(open(3, 16).upstream_open(&api), 3);
}

#[test]
fn only_statistics_of_clients_and_upstreams_count() {
    let (mut counters, mut gauges) = (Counters::default(), Gauges::default());
    for (name, taken) in [
        ("http.ingress.downstream_rq_http2_total", true),
        ("http.admin.downstream_rq_http1_total", false),
        ("cluster.origin.upstream_cx_total", true),
        ("cluster.control_plane.upstream_cx_total", false),
        ("http.observe.downstream_rq_http1_total", false),
        ("cluster.origin.external.upstream_rq_2xx", false),
        ("cluster.outbound|80||api.default.svc.upstream_rq_total", true),
        ("http.ingress.downstream_rq_completed", true),
        ("http.ingress.downstream_rq_5xx", true),
        ("http.admin.downstream_rq_5xx", false),
        // The same once more, by listener.
        ("listener.127.0.0.1_10000.http.ingress.downstream_rq_5xx", false),
        ("listener.127.0.0.1_10000.downstream_cx_overload_reject", true),
        ("listener.0.0.0.0_10000.downstream_global_cx_overflow", true),
        ("listener.admin.downstream_cx_overflow", false),
    ] {
        assert_eq!(counters.take(name, 2), taken, "{name}");
    }
    assert_eq!(
        (counters.requests, counters.http2_requests, counters.upstream_requests),
        (2, 2, 2)
    );
    assert_eq!(
        (counters.responses, counters.server_errors, counters.refused_connections),
        (2, 2, 4)
    );
    assert!(gauges.take("server.memory_allocated", 7) && !gauges.take("server.state", 1));
}
