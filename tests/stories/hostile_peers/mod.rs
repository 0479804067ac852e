//! Every gRPC service under peers whose messages are well formed and say anything. `HOSTILE_SEED=n` sends the same again.

mod raw;
mod sound;
mod wire;

use crate::oracle::random::Random;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use raw::Raw;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Most memory that all of it may take, above what the process had.
const MEMORY_MB: f64 = 64.0;
/// Parts of a message.
const PARTS: usize = 32_768;
/// Calls or streams of each service.
const ROUNDS: usize = 150;
/// Messages of a stream, if it is let go on.
const MESSAGES: usize = 12;
/// What ends a stream that is served, and nothing else.
const PATIENCE: Duration = Duration::from_secs(20);

fn seed() -> u64 {
    let seed = std::env::var("HOSTILE_SEED").ok().and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| u64::from(std::process::id()))
}

struct Peer {
    runtime: Runtime,
    channel: Channel,
    random: Random,
}

impl Peer {
    fn at(address: SocketAddr, seed: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        // It is opened again when the control plane closes it.
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        Self {
            runtime,
            channel,
            random: Random::new(seed),
        }
    }

    /// A message like this one; now and then this one.
    fn like(&mut self, sound: &[u8]) -> Vec<u8> {
        if self.random.percent(10) {
            return sound.to_vec();
        }
        wire::like(sound, &mut self.random)
    }

    fn unary(&self, path: &'static str, message: Vec<u8>) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let call = grpc.unary(Request::new(message), PathAndQuery::from_static(path), Raw);
            let answer = tokio::time::timeout(PATIENCE, call).await;
            answer.expect("an answer").map(drop)
        })
    }

    /// Sends all of them and then no more; how the stream ends.
    fn stream(&self, path: &'static str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let request = Request::new(tokio_stream::iter(messages));
            let all = async {
                let answer = grpc.streaming(request, PathAndQuery::from_static(path), Raw).await?;
                let mut incoming = answer.into_inner();
                while incoming.message().await?.is_some() {}
                Ok(())
            };
            tokio::time::timeout(PATIENCE, all)
                .await
                .expect("the end of the stream")
        })
    }
}

/// A refusal, but none that says that the control plane failed. tonic calls so what it cannot decode.
fn sound_end(what: &str, seed: u64, ended: Result<(), Status>) {
    if let Err(status) = ended {
        let decoding = status.message().contains("decode");
        assert!(
            !matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss) || decoding,
            "{what} with seed {seed}: {status}"
        );
    }
}

fn start() -> Stack {
    let plan = Plan {
        settings: json!({"shared_tier": {"enabled": true}}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content").max_age(600)).unwrap()).unwrap();
    stack
        .change_settings(&json!({"shared_tier": {"enabled": true}}))
        .unwrap();
    stack
}

/// Lets `act` do its worst; then the control plane has not grown, and the real Envoy is where it was.
fn survives(what: &str, act: impl Fn(&mut Peer, u64)) {
    let mut stack = start();
    let seed = seed();
    let address = stack.control().grpc_address();
    let before = stack.control().process().unwrap().resident_mb().unwrap();
    act(&mut Peer::at(address, seed), seed);
    let process = stack.control().process().unwrap();
    let peak = process.peak_mb().unwrap();
    let log = process.output();
    println!("{what} with seed {seed}: {before:.0} MB before, {peak:.0} MB at most");
    assert!(!log.contains("panicked"), "{what} with seed {seed}: {log}");
    assert!(
        peak - before <= MEMORY_MB,
        "{what} with seed {seed}: {before} MB became {peak} MB"
    );
    wait::until("the real Envoy connected", || {
        let fleet = stack.rest().document("/fleet").ok()?;
        let mut envoys = fleet.as_array()?.iter();
        envoys
            .any(|envoy| envoy["node_id"] == "envoy" && envoy["connected"] == true)
            .then_some(())
    })
    .unwrap();
    // Whatever they have done to the figures, each is a number still, and settings reach the Envoy.
    for path in [
        "/health",
        "/metrics/performance",
        "/cache/stats",
        "/cache/what-if",
        "/alerts/active",
        "/fleet",
    ] {
        assert_eq!(stack.rest().get(path).unwrap().status, 200, "{path}");
    }
    assert_eq!(stack.rest().get("/metrics").unwrap().status, 200);
    let answer = stack
        .rest()
        .merge_patch("/settings", &json!({"cache_size": 321}))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait::until("the new settings in the Envoy", || {
        let revision = stack.rest().document("/settings/rollout").ok()?["revision"].clone();
        let fleet = stack.rest().document("/fleet").ok()?;
        let mut envoys = fleet.as_array()?.iter();
        let own = envoys.find(|envoy| envoy["node_id"] == "envoy" && envoy["connected"] == true)?;
        (own["revision"] == revision).then_some(())
    })
    .unwrap();
    // A purge that one of them told of may still be on its way.
    wait::until("a hit", || {
        let answer = stack.envoy.get("/page").unwrap();
        assert_eq!(answer.status, 200);
        answer.is_hit().then_some(())
    })
    .unwrap();
}

#[test]
fn control_link() {
    survives("control link", |peer, seed| {
        for round in 0..ROUNDS {
            let name = format!("hostile-{}", round % 10);
            let hello = sound::hello(&name);
            let mut messages = vec![if peer.random.percent(40) {
                peer.like(&hello)
            } else {
                hello
            }];
            for sequence in 1..=MESSAGES / 3 {
                let sound = sound::of_envoy(&name, sequence as u64);
                messages.extend(sound.iter().map(|message| peer.like(message)).collect::<Vec<_>>());
            }
            sound_end(
                "control link",
                seed,
                peer.stream("/optimizer.v1.ControlLink/Connect", messages),
            );
        }
    });
}

#[test]
fn metrics_sink() {
    survives("metrics sink", |peer, seed| {
        for round in 0..ROUNDS {
            let sound = sound::of_sink(&format!("hostile-{round}"));
            let messages = (0..MESSAGES).map(|_| peer.like(&sound)).collect();
            let path = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";
            sound_end("metrics sink", seed, peer.stream(path, messages));
        }
    });
}

#[test]
fn discovery() {
    survives("discovery", |peer, seed| {
        for round in 0..ROUNDS {
            let name = format!("hostile-{round}");
            let service = "/envoy.service.discovery.v3.AggregatedDiscoveryService";
            let of = if round % 2 == 0 {
                sound::of_xds
            } else {
                sound::of_delta_xds
            };
            let path = match round % 2 {
                0 => "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
                _ => "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            };
            assert!(path.starts_with(service));
            let first = of(&name, true);
            let mut messages = vec![if peer.random.percent(40) {
                peer.like(&first)
            } else {
                first
            }];
            messages.extend((0..MESSAGES).map(|_| peer.like(&of(&name, false))));
            sound_end("discovery", seed, peer.stream(path, messages));
        }
    });
}

#[test]
fn shared_tier() {
    survives("shared tier", |peer, seed| {
        for round in 0..ROUNDS * 4 {
            let (method, sound) = sound::of_tier(round);
            let path = match method {
                "Get" => "/optimizer.v1.CacheBackend/Get",
                "Put" => "/optimizer.v1.CacheBackend/Put",
                "Release" => "/optimizer.v1.CacheBackend/Release",
                _ => "/optimizer.v1.CacheBackend/Invalidate",
            };
            let message = peer.like(&sound);
            sound_end(method, seed, peer.unary(path, message));
        }
    });
}

#[test]
fn replica_link() {
    const PATH: &str = "/optimizer.v1.ReplicaLink/Relay";
    survives("replica link", |peer, _| {
        for _ in 0..ROUNDS {
            let message = peer.like(&sound::of_replica());
            let code = peer.unary(PATH, message).unwrap_err().code();
            assert_eq!(code, Code::Unimplemented);
        }
    });
    let origin = Origin::start(|_| Reply::ok("content")).unwrap();
    let fleet = Fleet::replicated(1, json!({}), origin).unwrap();
    let mut peer = Peer::at(fleet.grpc_address(0), seed());
    for _ in 0..ROUNDS {
        // Nothing of what a stranger says is read.
        let message = peer.like(&sound::of_replica());
        let code = peer.unary(PATH, message).unwrap_err().code();
        assert_eq!(code, Code::Unauthenticated);
    }
    assert_eq!(fleet.rest(0).get("/health/live").unwrap().status, 200);
}

#[test]
fn health_and_reflection() {
    survives("health and reflection", |peer, seed| {
        let path = |round| match round % 2 {
            0 => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            _ => "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        };
        let questions: [(u8, &[u8]); 5] = [
            (3, b"optimizer/v1/control.proto"),
            (4, b"optimizer.v1.ControlLink"),
            (5, &[10, 1, b'a', 16, 1]),
            (6, b"optimizer.v1.Hello"),
            (7, b""),
        ];
        for round in 0..ROUNDS {
            let (number, text) = questions[round % questions.len()];
            let messages = (0..MESSAGES).map(|_| peer.like(&field(number, text))).collect();
            sound_end("reflection", seed, peer.stream(path(round), messages));
            let check = peer.like(&field(1, b"optimizer.v1.ControlLink"));
            sound_end("health", seed, peer.unary("/grpc.health.v1.Health/Check", check));
        }
    });
}

/// `count` empty fields of this number, each two bytes long.
fn empty(number: u8, count: usize) -> Vec<u8> {
    [number << 3 | 2, 0].repeat(count)
}

/// The same with a number of two bytes where it needs them.
fn long_empty(number: u8, count: usize) -> Vec<u8> {
    if number < 16 {
        return empty(number, count);
    }
    [number << 3 | 2 | 0x80, number >> 4, 0].repeat(count * 2 / 3)
}

/// A field of this number with this content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut rest = content.len();
    while rest >= 0x80 {
        length.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    length.push(rest as u8);
    [&[number << 3 | 2][..], &length, content].concat()
}

/// A call that ended since its message has more parts than one may have.
fn too_many(what: &str, seed: u64, ended: Result<(), Status>) {
    let status = ended.expect_err(what);
    assert_eq!(
        status.code(),
        Code::ResourceExhausted,
        "{what} with seed {seed}: {status}"
    );
}

#[test]
fn messages_of_empty_parts_take_up_little() {
    const CONTROL: &str = "/optimizer.v1.ControlLink/Connect";
    const INVALIDATE: &str = "/optimizer.v1.CacheBackend/Invalidate";
    const PUT: &str = "/optimizer.v1.CacheBackend/Put";
    const DISCOVERY: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    // As long as their services take them, two bytes a part.
    const HALF_MB: usize = (512 << 10) / 2 - 20;
    survives("empty parts", |peer, seed| {
        let sink = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";
        let node = sound::of_sink("hostile");
        // Families; metrics of one family; and what is not looked at. They are folded as they are read.
        let most = (4 << 20) / 2 - 20;
        for part in [
            empty(2, most),
            field(2, &empty(4, most)),
            field(2, &field(4, &empty(1, most))),
        ] {
            let messages = vec![node.clone(), part];
            sound_end("statistics", seed, peer.stream(sink, messages));
        }
        // Series, errors, events, reasons of a report; breakers and limits of its gauges; violations; items of a page; words of a Hello.
        let report = |part: &[u8]| field(3, &field(5, part));
        let parts = [1, 2, 4, 5, 20, 21, 22, 23].map(|number| report(&long_empty(number, HALF_MB - 20)));
        let others = [
            field(3, &field(6, &empty(6, HALF_MB))),
            field(3, &field(6, &empty(8, HALF_MB))),
            field(2, &empty(4, HALF_MB)),
            field(4, &field(4, &empty(1, HALF_MB))),
        ];
        for part in parts.into_iter().chain(others) {
            let messages = vec![sound::hello("hostile"), part];
            // The stream was welcome; that it ended for a message is counted in its Envoy's name.
            sound_end("control link", seed, peer.stream(CONTROL, messages));
        }
        let words = vec![field(1, &empty(7, HALF_MB))];
        too_many("hello", seed, peer.stream(CONTROL, words));
        for (path, part) in [
            (DISCOVERY, empty(3, HALF_MB)),
            (DISCOVERY, field(2, &empty(9, HALF_MB))),
            (DISCOVERY, field(2, &field(3, &empty(1, HALF_MB)))),
            (DISCOVERY, field(6, &empty(3, HALF_MB))),
            (DISCOVERY, empty(7, HALF_MB)),
            (DELTA, empty(3, HALF_MB)),
            (DELTA, empty(5, HALF_MB)),
            (DELTA, empty(8, HALF_MB)),
        ] {
            too_many("discovery", seed, peer.stream(path, vec![part]));
        }
        let most = (3 << 19) / 2 - 20;
        too_many("tier", seed, peer.unary(INVALIDATE, empty(1, most)));
        too_many("tier", seed, peer.unary(PUT, empty(3, most)));
        too_many("tier", seed, peer.unary(PUT, empty(8, most)));
        // As many as there may be are read.
        too_many("tier", seed, peer.unary(INVALIDATE, empty(1, PARTS + 1)));
        peer.unary(INVALIDATE, empty(1, PARTS)).unwrap();
        // A byte more than a message may have.
        for (path, length) in [(INVALIDATE, 3 << 19), (DISCOVERY, 512 << 10), (CONTROL, 512 << 10)] {
            let message = vec![0; length + 1];
            let ended = match path {
                INVALIDATE => peer.unary(path, message),
                _ => peer.stream(path, vec![message]),
            };
            let status = ended.expect_err(path);
            assert_eq!(status.code(), Code::OutOfRange, "{path}: {status}");
        }
        let status = peer.stream(sink, vec![vec![0; (4 << 20) + 1]]).unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
    });
}
