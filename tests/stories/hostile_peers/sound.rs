//! Sound messages of every service, from which hostile ones are made.

mod answers;

use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use envoy_types::pb::google::rpc::Status as Error;
use envoy_types::pb::io::prometheus::client::{Counter, Gauge, Metric, MetricFamily, MetricType};
use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::filter_message::Body;
use optimizer_proto::v1::{
    ActiveHealthCheck, BreakerEvent, BreakerGauge, CacheCounters, ChangeCount, ClientPurge, Command, CommandResult,
    ConcurrencyGauge, ErrorCount, Fence, FilterGauges, FilterMessage, Hello, KeySamples, ReasonCount, RelayedCommand,
    RequestSeries, SettingsAck, SharingFinding, SweepCommand, TelemetryDelta, TelemetryReport, TierGet, TierInvalidate,
    TierPut, TierRelease, TierSubject, Violation, command,
};
use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn filter(body: Body) -> Vec<u8> {
    FilterMessage { body: Some(body) }.encode_to_vec()
}

pub fn hello(name: &str) -> Vec<u8> {
    filter(Body::Hello(Hello {
        node_id: name.to_owned(),
        instance_id: name.to_owned(),
        filter_version: "1.2.3".to_owned(),
        protocol: 1,
        revision: 3,
        workers: 2,
        capabilities: vec!["collapsing".to_owned(), "tier".to_owned()],
        started_at_ms: now_ms(),
        epoch: "1-2".to_owned(),
        proof: vec![7; 32],
        module: "ab".repeat(32),
    }))
}

/// What an Envoy says after its Hello.
pub fn of_envoy(name: &str, sequence: u64) -> Vec<Vec<u8>> {
    let violation = Violation {
        path: "/routes/0".to_owned(),
        code: "unknown".to_owned(),
        message: "no".to_owned(),
    };
    let ack = SettingsAck {
        revision: 1,
        epoch: "1-2".to_owned(),
        accepted: false,
        violations: vec![violation],
        workers: 2,
    };
    let report = TelemetryReport {
        sequence,
        instance_id: name.to_owned(),
        closed_at_ms: now_ms(),
        span_ms: 1_000,
        delta: Some(delta()),
        gauges: Some(gauges()),
    };
    let mut messages = vec![filter(Body::SettingsAck(ack)), filter(Body::Telemetry(report))];
    messages.extend(answers::of_every_kind().map(|answer| {
        filter(Body::CommandResult(CommandResult {
            id: "1".to_owned(),
            ok: true,
            detail: r#"{"decision": "serve"}"#.to_owned(),
            answer: Some(answer),
        }))
    }));
    messages
}

fn delta() -> TelemetryDelta {
    let mut latency = Sketch::new();
    (1..=10).for_each(|n| latency.record(n * 1_000));
    let count = |code: &str| ReasonCount {
        code: code.to_owned(),
        count: 3,
    };
    TelemetryDelta {
        requests: vec![RequestSeries {
            route: "default".to_owned(),
            upstream: "api".to_owned(),
            outcome: 1,
            protocol: 2,
            count: 10,
            latency_us: Some(latency.clone().into()),
            response_bytes: 1_000,
            ..RequestSeries::default()
        }],
        errors: vec![ErrorCount {
            kind: "timeout".to_owned(),
            upstream: "api".to_owned(),
            count: 1,
        }],
        cache: Some(CacheCounters {
            lookups: 10,
            hits: 9,
            stores: 1,
            ..CacheCounters::default()
        }),
        breaker_events: vec![BreakerEvent {
            upstream: "api".to_owned(),
            from: "closed".to_owned(),
            to: "open".to_owned(),
            ..BreakerEvent::default()
        }],
        reasons: vec![count("no-store")],
        overhead_ns: Some(latency.into()),
        samples: Some(KeySamples {
            threshold: 1 << 20,
            keys: vec![1, 2],
            bytes: vec![100, 0],
            usable_s: vec![60, 0],
            fresh_s: vec![60, 0],
            fetch_ms: vec![40, 0],
        }),
        lost_hits: vec![count("expired")],
        invalidations: vec![count("purge")],
        changes: vec![ChangeCount {
            route: "default".to_owned(),
            unchanged: 1,
            changed: 1,
            observed_ms: 1_000,
        }],
        purges: vec![ClientPurge {
            source: "10.0.0.1".to_owned(),
            url: "http://api.example/purged".to_owned(),
            tags: vec!["a".to_owned()],
            at_ms: now_ms(),
            ..ClientPurge::default()
        }],
        findings: vec![SharingFinding {
            id: "0123456789abcdef".to_owned(),
            host: "api.example".to_owned(),
            path_prefix: "/found/".to_owned(),
            rule: "0123456789abcdef".to_owned(),
            depends_on: vec!["cookie plan".to_owned()],
            at_ms: now_ms(),
            ..SharingFinding::default()
        }],
    }
}

fn gauges() -> FilterGauges {
    FilterGauges {
        cache_entries: 10,
        cache_bytes: 1_000,
        cache_limit_entries: 100,
        cache_limit_bytes: 10_000,
        breakers: vec![BreakerGauge {
            upstream: "api".to_owned(),
            state: "closed".to_owned(),
            since_ms: now_ms(),
            calls: 10,
            active_health_check: Some(ActiveHealthCheck {
                interval_ms: 5_000,
                last_ms: now_ms(),
                healthy: true,
                status: 200,
            }),
            ..BreakerGauge::default()
        }],
        workers: 2,
        concurrency: vec![ConcurrencyGauge {
            upstream: "api".to_owned(),
            limit: 10,
            ..ConcurrencyGauge::default()
        }],
        ..FilterGauges::default()
    }
}

pub fn of_tier(which: usize) -> (&'static str, Vec<u8>) {
    let key = b"http://api.example/tier".to_vec();
    match which % 4 {
        0 => {
            let get = TierGet {
                key,
                variant: 1,
                vary: vec![b"accept".to_vec()],
                ..TierGet::default()
            };
            ("Get", get.encode_to_vec())
        }
        1 => {
            let put = TierPut {
                key,
                vary: vec![b"accept".to_vec()],
                value: vec![200; 3_000],
                fence: Some(Fence {
                    ms: now_ms(),
                    sequence: 1,
                }),
                host: "api.example".to_owned(),
                path: "/tier".to_owned(),
                tags: vec!["a".to_owned()],
                usable_until_ms: now_ms() + 60_000,
                now_ms: now_ms(),
                ..TierPut::default()
            };
            ("Put", put.encode_to_vec())
        }
        2 => {
            let release = TierRelease {
                key,
                holder: 1,
                not_shareable: true,
            };
            ("Release", release.encode_to_vec())
        }
        _ => {
            let subject = TierSubject {
                kind: 3,
                host: "api.example".to_owned(),
                value: "/tier".to_owned(),
            };
            let invalidate = TierInvalidate {
                subjects: vec![subject],
            };
            ("Invalidate", invalidate.encode_to_vec())
        }
    }
}

pub fn of_replica() -> Vec<u8> {
    RelayedCommand {
        envoy: "envoy".to_owned(),
        timeout_ms: 100,
        command: Some(Command {
            id: "1".to_owned(),
            typed_answer: true,
            body: Some(command::Body::Sweep(SweepCommand { cursor: 1 })),
        }),
    }
    .encode_to_vec()
}

fn node(name: &str) -> Node {
    let text = |text: &str| Value {
        kind: Some(value::Kind::StringValue(text.to_owned())),
    };
    Node {
        id: name.to_owned(),
        cluster: "edge".to_owned(),
        locality: Some(Locality {
            region: "eu".to_owned(),
            zone: "a".to_owned(),
            ..Locality::default()
        }),
        metadata: Some(Struct {
            fields: [("listen_port", "10000"), ("filter", "/filter.wasm")]
                .map(|(name, value)| (name.to_owned(), text(value)))
                .into(),
        }),
        ..Node::default()
    }
}

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

pub fn of_xds(name: &str, first: bool) -> Vec<u8> {
    DiscoveryRequest {
        version_info: if first { String::new() } else { "1".to_owned() },
        node: first.then(|| node(name)),
        resource_names: vec!["api".to_owned()],
        type_url: CLUSTERS.to_owned(),
        response_nonce: if first { String::new() } else { "1".to_owned() },
        error_detail: (!first).then(refusal),
        ..DiscoveryRequest::default()
    }
    .encode_to_vec()
}

pub fn of_delta_xds(name: &str, first: bool) -> Vec<u8> {
    DeltaDiscoveryRequest {
        node: first.then(|| node(name)),
        type_url: CLUSTERS.to_owned(),
        resource_names_subscribe: vec!["api".to_owned(), "*".to_owned()],
        resource_names_unsubscribe: vec!["b".to_owned()],
        initial_resource_versions: [("api".to_owned(), "1".to_owned())].into(),
        response_nonce: if first { String::new() } else { "1".to_owned() },
        error_detail: (!first).then(refusal),
        ..DeltaDiscoveryRequest::default()
    }
    .encode_to_vec()
}

fn refusal() -> Error {
    Error {
        code: 3,
        message: "not valid".to_owned(),
        ..Error::default()
    }
}

pub fn of_sink(name: &str) -> Vec<u8> {
    let metric = |counter: bool| Metric {
        counter: counter.then_some(Counter {
            value: Some(1.0),
            ..Counter::default()
        }),
        gauge: (!counter).then_some(Gauge { value: Some(1.0) }),
        ..Metric::default()
    };
    let family = |name: &str, counter: bool| MetricFamily {
        name: Some(name.to_owned()),
        r#type: Some(
            if counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            }
            .into(),
        ),
        metric: vec![metric(counter)],
        ..MetricFamily::default()
    };
    StreamMetricsMessage {
        identifier: Some(Identifier { node: Some(node(name)) }),
        envoy_metrics: vec![
            family("http.ingress.downstream_rq_total", true),
            family("cluster.api.membership_total", false),
            family("cluster.api.upstream_cx_active", false),
            family("server.memory_allocated", false),
        ],
    }
    .encode_to_vec()
}
