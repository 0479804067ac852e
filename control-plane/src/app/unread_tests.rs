//! Peers that do not read what they are answered, at the two ports as they are shipped.

use super::Running;
use super::ports_tests::{is, running, waits};
use control_domain::Millis;
use hyper::{Request, Response};
use optimizer_proto::v1::cache_backend_client::CacheBackendClient;
use optimizer_proto::v1::{TierFound, TierGet, TierPut};
use prost::Message as _;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service as _, ServiceExt as _};

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

/// Asks the shared tier and reads the head of the answer alone; `None` when it is refused.
async fn get(channel: &mut Channel) -> Option<Response<Body>> {
    let message = ask().encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let request = Request::post("/optimizer.v1.CacheBackend/Get").header("content-type", "application/grpc");
    let body = axum::body::Body::from([&[0], &length[..], &message].concat());
    let request = request.body(Body::new(body)).unwrap();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    // Without a body the status is in the head.
    match answer.headers().get("grpc-status") {
        Some(status) => {
            assert_eq!(status.to_str().unwrap(), (Code::Unavailable as i32).to_string());
            None
        }
        None => Some(answer),
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_shared_tier_that_are_not_read_take_room_for_half_a_minute() {
    let ports = running(&[]).await;
    let room = (16 << 20) / keep(&ports).await;
    let (mut answers, mut refused) = (Vec::new(), 0);
    for _ in 0..2 {
        let mut channel = narrow(&ports).await;
        for _ in 0..10 {
            match get(&mut channel).await {
                Some(answer) => answers.push((answer, channel.clone())),
                None => refused += 1,
            }
        }
    }
    assert_eq!((answers.len(), refused), (room, 20 - room));
    // Both connections are closed.
    let time = said(&ports, &format!("; {} streams of Envoys refused", refused + 2)).await;
    assert!(is(time, 30), "{time:?}");
    assert!(get(&mut narrow(&ports).await).await.is_some(), "there is room again");
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
