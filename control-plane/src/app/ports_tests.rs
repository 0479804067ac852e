//! Deadlines and numbers of the two ports as they are shipped. The clock stands still until everybody waits, and then goes on to whatever comes
//! first, so that a minute takes no time.

use super::{Config, Running, calls_of_envoys, requests_of_operators, start};
use crate::net::places::Place;
use clap::Parser as _;
use e2e::certificates::Certificates;
use optimizer_proto::v1::cache_backend_client::CacheBackendClient;
use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::tier_found::Result as Found;
use optimizer_proto::v1::{ControlMessage, FilterMessage, TierGet};
use prost::Message as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty frame of SETTINGS (RFC 9113 section 6.5).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A control plane with these arguments beside its defaults.
async fn running(arguments: &[&str]) -> Running {
    let ports = ["control-plane", "--rest-port", "0", "--grpc-port", "0"];
    let config = Config::try_parse_from(ports.iter().chain(arguments)).unwrap();
    // So that the clock goes on by small steps, whatever else there is to wait for.
    tokio::spawn(async {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        loop {
            tick.tick().await;
        }
    });
    start(&config).await.unwrap()
}

/// What a port says to these bytes and nothing after them, and how long it waits for more.
async fn waits(address: SocketAddr, bytes: &[u8]) -> (String, Duration) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    connection.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // It may be cut off instead of closed.
    let _ = connection.read_to_end(&mut said).await;
    (String::from_utf8_lossy(&said).into_owned(), begun.elapsed())
}

/// So many seconds, and what a machine may add to them.
fn is(time: Duration, seconds: u64) -> bool {
    (seconds..seconds + 2).contains(&time.as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_ends_after_ten_seconds() {
    let ports = running(&[]).await;
    for address in [ports.rest_address, ports.grpc_address] {
        for bytes in [&b""[..], b"P"] {
            let (_, time) = waits(address, bytes).await;
            assert!(is(time, 10), "{bytes:?} at {address}: {time:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_request_is_whole_within_ten_seconds() {
    let ports = running(&[]).await;
    let (_, time) = waits(ports.rest_address, b"GET /health HTTP/1.1\r\n").await;
    assert!(is(time, 10), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn hands_are_shaken_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let (chain, key) = (certificates.file("server.pem"), certificates.file("server.key"));
    let files = |port: &str| {
        [
            format!("--{port}-tls-cert-file"),
            chain.clone(),
            format!("--{port}-tls-key-file"),
            key.clone(),
        ]
    };
    let arguments = [files("rest"), files("grpc")].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ports = running(&arguments).await;
    for address in [ports.rest_address, ports.grpc_address] {
        // Nothing, and the beginning of a ClientHello (RFC 8446 section 5.1).
        for bytes in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
            let (_, time) = waits(address, bytes).await;
            assert!(is(time, 10), "{bytes:?} at {address}: {time:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_given_up_on_after_a_minute() {
    // A body that pauses would be given up earlier.
    let ports = running(&["--body-pause", "5m"]).await;
    let begun = b"PUT /settings HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n{";
    let (said, time) = waits(ports.rest_address, begun).await;
    assert!(
        said.starts_with("HTTP/1.1 504") && said.contains("took_too_long"),
        "{said}"
    );
    assert!(is(time, 60), "{time:?}");
}

async fn channel(ports: &Running) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", ports.grpc_address)).unwrap();
    endpoint.connect().await.unwrap()
}

/// A control stream on which nothing is sent.
async fn silent(channel: &Channel) -> Result<Streaming<ControlMessage>, Status> {
    let nothing = tokio_stream::pending::<FilterMessage>();
    let answer = ControlLinkClient::new(channel.clone()).connect(nothing).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn the_first_message_of_a_stream_comes_within_ten_seconds() {
    use discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;
    let ports = running(&["--body-pause", "5m"]).await;
    let channel = channel(&ports).await;
    let begun = Instant::now();
    let mut stream = silent(&channel).await.unwrap();
    let ended = stream.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition, "{ended}");
    assert!(is(begun.elapsed(), 10), "control stream: {:?}", begun.elapsed());
    let begun = Instant::now();
    let nothing = tokio_stream::pending::<discovery::DiscoveryRequest>();
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let mut stream = client.stream_aggregated_resources(nothing).await.unwrap().into_inner();
    let ended = stream.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    assert!(is(begun.elapsed(), 10), "xDS: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_address_has_so_many_connections_at_a_port() {
    let ports = running(&[]).await;
    for address in [ports.rest_address, ports.grpc_address] {
        let mut held = Vec::new();
        for _ in 0..1_024 {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        // One more is closed at once, and none of the others is.
        let mut more = TcpStream::connect(address).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(1), more.read(&mut [0])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{address}: {closed:?}");
        for connection in &mut held {
            let mut byte = [0];
            // It may be told something, as the limits of HTTP/2.
            let read = tokio::time::timeout(Duration::from_millis(1), connection.read(&mut byte)).await;
            assert!(matches!(read, Err(_) | Ok(Ok(1))), "{address}: {read:?}");
        }
    }
}

/// What a port says of HTTP/2 at the beginning: streams at a time, and how much may be sent ahead, on a stream and on the connection.
async fn limits(address: SocketAddr) -> (u32, u32, u32) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    // What holds until something else is said (RFC 9113 sections 6.5.2 and 6.9.2).
    let (mut streams, mut stream_window, mut window) = (u32::MAX, 65_535, 65_535);
    let mut head = [0; 9];
    let open = Duration::from_millis(200);
    while let Ok(Ok(_)) = tokio::time::timeout(open, connection.read_exact(&mut head)).await {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut content = vec![0; length];
        connection.read_exact(&mut content).await.unwrap();
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        match head[3] {
            // SETTINGS: numbers of two bytes, values of four.
            4 => content.chunks_exact(6).for_each(|setting| match setting[..2] {
                [0, 3] => streams = number(&setting[2..]),
                [0, 4] => stream_window = number(&setting[2..]),
                _ => {}
            }),
            // WINDOW_UPDATE of the connection.
            8 if head[5..] == [0; 4] => window += number(&content),
            _ => {}
        }
    }
    (streams, stream_window, window)
}

#[tokio::test(start_paused = true)]
async fn so_much_may_be_sent_ahead() {
    let ports = running(&[]).await;
    assert_eq!(limits(ports.grpc_address).await, (200, 65_535, 65_535));
    assert_eq!(limits(ports.rest_address).await, (64, 65_535, 65_535));
}

#[tokio::test(start_paused = true)]
async fn an_address_has_so_many_calls_at_a_time() {
    let ports = running(&["--connections-per-address", "2"]).await;
    let channel = channel(&ports).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(silent(&channel).await.unwrap());
    }
    let refused = silent(&channel).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let health = waits(
        ports.rest_address,
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    let (said, _) = health.await;
    assert!(said.contains("1 streams of Envoys refused"), "{said}");
    drop(streams.pop());
    let mut again = silent(&channel).await;
    while again.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        again = silent(&channel).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_the_shared_tier_take_room() {
    let ports = running(&[]).await;
    let ask = |holder, wait_ms| TierGet {
        key: vec![b'k'; 15 << 10],
        lease_ms: u32::MAX,
        holder,
        wait_ms,
        ..TierGet::default()
    };
    let first = CacheBackendClient::new(channel(&ports).await)
        .get(ask(1, 0))
        .await
        .unwrap();
    assert_eq!(first.get_ref().result(), Found::Miss);
    // The others wait for the one that has the lease; a connection has 200 calls at a time.
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        let channel = channel(&ports).await;
        for _ in 0..150 {
            let mut client = CacheBackendClient::new(channel.clone());
            waiting.spawn(async move { client.get(ask(2, 5_000)).await });
        }
    }
    let (waited, refused): (Vec<_>, Vec<_>) = waiting.join_all().await.into_iter().partition(Result::is_ok);
    let room = (8 << 20) / ask(2, 5_000).encoded_len();
    assert_eq!((waited.len(), refused.len()), (room, 600 - room));
    for answer in refused {
        assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    }
}

#[test]
fn so_many_calls_are_answered_at_a_time() {
    let config = Config::try_parse_from(["control-plane"]).unwrap();
    let address = |number: u32| IpAddr::V4(Ipv4Addr::from(number));
    for (bodies, each, all) in [
        (calls_of_envoys(&config), 4_096, 100_000),
        (requests_of_operators(&config), 1_024, 2_048),
    ] {
        let own: Vec<Option<Place>> = (0..=each).map(|_| bodies.calls.take(address(0), 1)).collect();
        assert_eq!(own.iter().flatten().count(), each);
        let others: Vec<Option<Place>> = (1..=all).map(|number| bodies.calls.take(address(number), 1)).collect();
        assert_eq!(others.iter().flatten().count(), usize::try_from(all).unwrap() - each);
    }
}
