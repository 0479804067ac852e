//! Peers that do not read what they are answered, at the two ports as they are shipped.

use super::Running;
use super::ports_tests::{is, running, waits};
use control_domain::Millis;
use optimizer_proto::v1::cache_backend_client::CacheBackendClient;
use optimizer_proto::v1::{TierFound, TierGet, TierPut};
use prost::Message as _;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// What `/health` says.
async fn health(ports: &Running) -> String {
    let ask = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    waits(ports.rest_address, ask).await.0
}

/// How long it takes until `/health` says this.
async fn said(ports: &Running, what: &str) -> Duration {
    let begun = Instant::now();
    while !health(ports).await.contains(what) {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", health(ports).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

/// A connection that takes a few bytes of an answer and no more.
async fn narrow(ports: &Running) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", ports.grpc_address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(100);
    endpoint.connect().await.unwrap()
}

const KEY: &[u8] = b"key";

/// Keeps a response of a megabyte in the shared tier; gives the length of the answer that has it.
async fn keep(ports: &Running) -> usize {
    let now_ms: Millis = crate::kernel::clock::now_ms();
    let endpoint = Endpoint::from_shared(format!("http://{}", ports.grpc_address)).unwrap();
    let mut client = CacheBackendClient::new(endpoint.connect().await.unwrap()).max_decoding_message_size(2 << 20);
    let missed = client.get(ask()).await.unwrap().into_inner();
    let put = TierPut {
        key: KEY.into(),
        value: vec![b'v'; 1 << 20],
        fence: missed.fence,
        host: "a".to_owned(),
        path: "/".to_owned(),
        usable_until_ms: now_ms + 3_600_000,
        now_ms,
        ..TierPut::default()
    };
    let stored = client.put(put).await.unwrap().into_inner();
    assert!(stored.stored, "{}", stored.reason);
    let found: TierFound = client.get(ask()).await.unwrap().into_inner();
    assert_eq!(found.value.len(), 1 << 20);
    found.encoded_len()
}

fn ask() -> TierGet {
    TierGet {
        key: KEY.into(),
        ..TierGet::default()
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_shared_tier_that_are_not_read_take_room_for_half_a_minute() {
    let ports = running(&[]).await;
    let length = keep(&ports).await;
    let room = (16 << 20) / length;
    let mut answers = JoinSet::new();
    for _ in 0..4 {
        let channel = narrow(&ports).await;
        for _ in 0..10 {
            // The window of a stream is as small as it was only while nothing is read.
            let mut client = CacheBackendClient::new(channel.clone()).max_decoding_message_size(2 << 20);
            answers.spawn(async move { (client.get(ask()).await, Instant::now()) });
        }
    }
    let begun = Instant::now();
    let (mut refused, mut ended) = (0, 0);
    while let Some(answer) = answers.join_next().await {
        let (answer, at) = answer.unwrap();
        let status = answer.unwrap_err();
        if status.message().contains("waits to be read") {
            assert_eq!(status.code(), Code::Unavailable);
            refused += 1;
        } else {
            assert!(is(at - begun, 30), "{status} after {:?}", at - begun);
            ended += 1;
        }
    }
    assert_eq!((refused, ended), (40 - room, room));
    let mut client = CacheBackendClient::new(narrow(&ports).await);
    let absent = TierGet {
        key: b"another".into(),
        ..TierGet::default()
    };
    assert!(client.get(absent).await.is_ok(), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_rest_connection_whose_answers_are_not_read_is_closed() {
    let ports = running(&[]).await;
    let mut connection = TcpStream::connect(ports.rest_address).await.unwrap();
    let asks = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    connection.write_all(&asks).await.unwrap();
    let time = said(&ports, "1 requests refused").await;
    assert!(is(time, 30), "{time:?}");
}
