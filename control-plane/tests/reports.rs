//! What an Envoy reports that cannot be true is refused, counted and attributed, and nothing of it gets into the figures.

use optimizer_proto::telemetry::Sketch;
use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::control_message::Body as FromControl;
use optimizer_proto::v1::filter_message::Body;
use optimizer_proto::v1::{
    CacheCounters, ControlMessage, FilterMessage, Hello, Outcome, RequestSeries, TelemetryDelta, TelemetryReport,
};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_secs(30);

/// The real control plane on free ports.
struct Plane {
    process: Child,
    rest: String,
    grpc: String,
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Plane {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_api-optimizer-control-plane"))
            .env("LISTEN_ADDRESS", "127.0.0.1")
            .env("REST_PORT", "0")
            .env("GRPC_PORT", "0")
            .env("LOG_JSON", "true")
            .env_remove("STATE_DIR")
            .env_remove("CONFIG_DIR")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|line| line["fields"]["message"] == "ready")
            .expect("a line that says where it listens");
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = |name: &str| ready["fields"][name].as_str().unwrap().to_owned();
        Self {
            rest: address("rest"),
            grpc: address("grpc"),
            process,
        }
    }

    async fn document(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("http://{}{path}", self.rest)).await.unwrap();
        answer.json().await.unwrap()
    }

    async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

/// An Envoy's control stream.
struct Envoy {
    out: mpsc::Sender<FilterMessage>,
    incoming: Streaming<ControlMessage>,
}

impl Envoy {
    async fn connect(plane: &Plane, name: &str) -> Self {
        let (out, messages) = mpsc::channel(16);
        let hello = Hello {
            instance_id: name.to_owned(),
            node_id: format!("node-{name}"),
            ..Hello::default()
        };
        let envoy = out.clone();
        envoy
            .send(FilterMessage {
                body: Some(Body::Hello(hello)),
            })
            .await
            .unwrap();
        let mut client = ControlLinkClient::new(plane.channel().await);
        let incoming = client
            .connect(ReceiverStream::new(messages))
            .await
            .unwrap()
            .into_inner();
        Self { out, incoming }
    }

    /// Sends a report and waits until it is acknowledged; false when the stream ends instead.
    async fn report(&mut self, report: TelemetryReport) -> bool {
        let sequence = report.sequence;
        let message = FilterMessage {
            body: Some(Body::Telemetry(report)),
        };
        if self.out.send(message).await.is_err() {
            return false;
        }
        let acknowledged = async {
            loop {
                match self.incoming.message().await {
                    Ok(Some(ControlMessage {
                        body: Some(FromControl::TelemetryAck(ack)),
                    })) if ack.sequence == sequence => return true,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return false,
                }
            }
        };
        tokio::time::timeout(PATIENCE, acknowledged).await.unwrap()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Ten requests of a millisecond, one of them no hit.
fn report(name: &str, sequence: u64) -> TelemetryReport {
    let mut latency_us = Sketch::new();
    (0..10).for_each(|_| latency_us.record(1_000));
    let series = RequestSeries {
        route: "default".to_owned(),
        upstream: "api".to_owned(),
        outcome: Outcome::Hit.into(),
        count: 10,
        latency_us: Some(latency_us.into()),
        ..RequestSeries::default()
    };
    let cache = CacheCounters {
        lookups: 10,
        hits: 9,
        ..CacheCounters::default()
    };
    TelemetryReport {
        sequence,
        instance_id: name.to_owned(),
        closed_at_ms: now_ms(),
        span_ms: 1_000,
        delta: Some(TelemetryDelta {
            requests: vec![series],
            cache: Some(cache),
            ..TelemetryDelta::default()
        }),
        gauges: None,
    }
}

fn changed(sequence: u64, change: impl FnOnce(&mut TelemetryReport)) -> TelemetryReport {
    let mut report = report("bad", sequence);
    change(&mut report);
    report
}

fn series(report: &mut TelemetryReport) -> &mut RequestSeries {
    &mut report.delta.as_mut().unwrap().requests[0]
}

#[tokio::test]
async fn bad_reports_are_refused_counted_and_attributed() {
    let plane = Plane::start();
    let mut good = Envoy::connect(&plane, "good").await;
    let mut bad = Envoy::connect(&plane, "bad").await;
    assert!(good.report(report("good", 1)).await);
    assert!(bad.report(report("bad", 1)).await);
    let hour_ms = 3_600_000;
    for (wrong, cause) in [
        (changed(1, |_| {}), "duplicate"),
        (changed(2, |report| report.closed_at_ms += hour_ms), "bad_time"),
        (changed(2, |report| report.span_ms = 1_000 * hour_ms), "bad_time"),
        (changed(2, |report| series(report).count = 1 << 60), "impossible_count"),
        (
            changed(2, |report| series(report).count = 1_000_000_000_000),
            "impossible_count",
        ),
        (changed(2, |report| series(report).count = 3), "impossible_count"),
        (
            changed(2, |report| {
                report.delta.as_mut().unwrap().cache.as_mut().unwrap().hits = 11
            }),
            "impossible_count",
        ),
        (
            changed(2, |report| series(report).latency_us.as_mut().unwrap().sum = u64::MAX),
            "bad_sketch",
        ),
        (
            changed(2, |report| series(report).latency_us.as_mut().unwrap().offset = -5),
            "bad_sketch",
        ),
        (
            changed(2, |report| series(report).route = "a\nb".to_owned()),
            "bad_label",
        ),
        (changed(2, |report| series(report).route = "a".repeat(300)), "bad_label"),
        (
            changed(2, |report| {
                let one = series(report).clone();
                report.delta.as_mut().unwrap().requests = vec![one; 600];
            }),
            "too_many",
        ),
        (changed(0, |_| {}), "no_sequence"),
        (changed(2, |report| report.instance_id = "good".to_owned()), "foreign"),
    ] {
        let before = faults(&plane, "bad", cause).await;
        assert!(
            bad.report(wrong).await,
            "{cause}: refused, and acknowledged all the same"
        );
        assert_eq!(faults(&plane, "bad", cause).await, before + 1, "{cause}");
    }
    let huge = changed(2, |report| series(report).route = "x".repeat(100 << 20));
    assert!(!bad.report(huge).await, "the stream ends");
    assert_eq!(faults(&plane, "bad", "too_large").await, 1);

    // Nobody else is hurt, and the offender itself goes on.
    assert!(good.report(report("good", 2)).await);
    let mut bad = Envoy::connect(&plane, "bad").await;
    assert!(bad.report(report("bad", 2)).await);
    let figures = plane.document("/metrics/performance").await;
    assert_eq!(figures["sample_count"], 40, "{figures}");
    assert_eq!(
        (figures["cache_hit_ratio"].as_f64(), figures["error_rate"].as_f64()),
        (Some(90.0), Some(0.0))
    );
    let p99 = figures["p99_latency"].as_f64().unwrap();
    assert!((0.98..1.02).contains(&p99), "{figures}");
    let fleet = plane.document("/fleet").await;
    let of = |name: &str| {
        fleet
            .as_array()
            .unwrap()
            .iter()
            .find(|envoy| envoy["envoy"] == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(of("good")["reports_not_merged"], serde_json::json!({}), "{fleet}");
    assert_eq!(of("bad")["last_refused_report"]["field"], "message", "{fleet}");
    let text = reqwest::get(format!("http://{}/metrics", plane.rest))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "api_optimizer_telemetry_faults_total{cause=\"impossible_count\"} 4",
        "api_optimizer_telemetry_faults_total{cause=\"too_large\"} 1",
        "api_optimizer_telemetry_reports_total{result=\"merged\"} 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let pending = plane.document("/alerts/active?pending=true").await;
    assert!(pending.to_string().contains("reports_refused"), "{pending}");
}

/// Reports of an Envoy not merged for a cause.
async fn faults(plane: &Plane, name: &str, cause: &str) -> u64 {
    let fleet = plane.document("/fleet").await;
    let envoy = fleet
        .as_array()
        .unwrap()
        .iter()
        .find(|envoy| envoy["envoy"] == name)
        .cloned()
        .unwrap();
    envoy["reports_not_merged"][cause].as_u64().unwrap_or(0)
}
