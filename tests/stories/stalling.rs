//! Peers that begin something and do not go on: each thing ends by itself, and nobody else waits for it.

use e2e::client::{Connection, Request};
use e2e::control_plane::{ControlPlane, Options};
use e2e::ports::free_port;
use e2e::wait;
use h2::client::SendRequest;
use optimizer_proto::v1::filter_message::Body;
use optimizer_proto::v1::{FilterMessage, Hello, TierGet};
use prost::Message;
use prost::bytes::Bytes;
use std::net::SocketAddr;
use std::path::Path;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const GET: &str = "/optimizer.v1.CacheBackend/Get";
const CONNECT: &str = "/optimizer.v1.ControlLink/Connect";
const STATISTICS: &str = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";

/// One that waits a second for a sender that pauses.
fn control_plane(folder: &Path, pause: &str) -> ControlPlane {
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.join("state"),
        config_dir: None,
        environment: vec![("BODY_PAUSE".to_owned(), pause.to_owned())],
    };
    let mut control = ControlPlane::start(options, folder).unwrap();
    control.wait_live().unwrap();
    control
}

/// A request whose body was begun.
fn begun(address: SocketAddr, method: &str, path: &str, fields: &str, body: &[u8]) -> Connection {
    let mut connection = Connection::open(address).unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{fields}\r\n\r\n");
    connection.send(head.as_bytes()).unwrap();
    connection.send(body).unwrap();
    connection
}

#[test]
fn a_body_that_pauses_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), "1s");
    let address = control.rest().address();
    for (method, path, fields) in [
        ("POST", "/cache/restore", "transfer-encoding: chunked"),
        ("POST", "/cache/restore", "content-length: 1000"),
        ("PUT", "/settings", "content-length: 1000"),
        ("PATCH", "/settings", "transfer-encoding: chunked"),
        ("PUT", "/filter/modules", "content-length: 1000"),
        ("POST", "/cache/purge", "content-length: 30"),
    ] {
        let mut slow = begun(address, method, path, fields, b"5\r\n{\"a\":\r\n");
        let answer = slow.response(method).unwrap();
        let code = answer.json().unwrap()["code"].clone();
        assert_eq!(
            (answer.status, code),
            (408, "body_incomplete".into()),
            "{method} {path}"
        );
    }
    // Whoever held the turn has given it back.
    let restore = Request::new("POST", "/cache/restore").body("{}");
    assert_eq!(control.rest().send(&restore).unwrap().status, 422);
}

#[test]
fn of_two_restores_the_second_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), "5m");
    let second = || {
        control
            .rest()
            .send(&Request::new("POST", "/cache/restore").body("{}"))
            .unwrap()
    };
    // Begun anew until it is the first of the two.
    let address = control.rest().address();
    let first = wait::until("the second one refused", || {
        let first = begun(
            address,
            "POST",
            "/cache/restore",
            "transfer-encoding: chunked",
            b"1\r\n{\r\n",
        );
        let answer = second();
        (answer.status == 409).then(|| {
            assert_eq!(answer.json().unwrap()["code"], "restore_under_way");
            first
        })
    })
    .unwrap();
    drop(first);
    wait::until("the turn free again", || (second().status == 422).then_some(())).unwrap();
}

/// A snapshot of this many entries that no Envoy takes.
fn snapshot(entries: usize) -> Vec<u8> {
    let entry = r#"{"url":"http://api.example/","freshness_lifetime_ms":9,"record":"AAAA","checksum":"none","response_time_ms":1,"usable_until_ms":9,"status":200,"hits":1,"tags":[],"private":false}"#;
    let mut text = String::from(r#"{"format":"api-optimizer-cache-snapshot","version":1,"entries":["#);
    text.push_str(&vec![entry; entries].join(","));
    text.push_str("]}");
    text.into_bytes()
}

#[test]
fn a_restore_ends_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = control_plane(folder.path(), "5m");
    let address = control.rest().address();
    let second = |control: &ControlPlane| {
        control
            .rest()
            .send(&Request::new("POST", "/cache/restore").body("{}"))
            .unwrap()
    };
    // Once to its end, to know what all of it costs.
    let body = snapshot(40_000);
    let before = control.process().unwrap().cpu_ticks();
    let whole = control
        .rest()
        .send(&Request::new("POST", "/cache/restore?dry_run=true").body(body.clone()))
        .unwrap();
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert_eq!(whole.json().unwrap()["read"], 40_000, "{}", whole.text());
    let all = control.process().unwrap().cpu_ticks() - before;
    let before = control.process().unwrap().cpu_ticks();
    let length = format!("content-length: {}", body.len());
    let first = wait::until("the second one refused", || {
        let first = begun(address, "POST", "/cache/restore?dry_run=true", &length, &body);
        (second(&control).status == 409).then_some(first)
    })
    .unwrap();
    drop(first);
    wait::until("the turn free again", || (second(&control).status == 422).then_some(())).unwrap();
    let mut last = 0;
    wait::until("no more work", || {
        let ticks = control.process().unwrap().cpu_ticks();
        std::mem::replace(&mut last, ticks).eq(&ticks).then_some(())
    })
    .unwrap();
    let spent = last - before;
    println!("a restore: {all} ticks whole, {spent} when its client left");
    assert!(spent * 2 < all, "{spent} of {all} ticks");
}

/// A gRPC client that sends what it likes of a call.
struct Caller {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

/// A call that was begun.
struct Call {
    answer: h2::client::ResponseFuture,
    body: h2::SendStream<Bytes>,
}

impl Caller {
    fn at(address: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let send = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            // It ends with the runtime.
            tokio::spawn(async move { drop(connection.await) });
            send.ready().await.unwrap()
        });
        Self { runtime, send }
    }

    fn call(&mut self, path: &str, begin: &[u8]) -> Call {
        let request = axum::http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, mut body) = self.send.send_request(request, false).unwrap();
        if !begin.is_empty() {
            body.send_data(Bytes::copy_from_slice(begin), false).unwrap();
        }
        Call { answer, body }
    }

    /// Waits for the end of a call: its status.
    fn status(&self, call: Call) -> u16 {
        self.runtime.block_on(call.status())
    }

    /// The status of whichever of the calls ends first; the others stay.
    fn first_status(&self, calls: Vec<Call>) -> (u16, JoinSet<u16>) {
        self.runtime.block_on(async {
            let mut ends: JoinSet<u16> = calls.into_iter().map(Call::status).collect();
            (ends.join_next().await.unwrap().unwrap(), ends)
        })
    }
}

impl Call {
    /// Waits for its end: its status, wherever it is.
    async fn status(self) -> u16 {
        let Call { answer, body: _held } = self;
        let mut answer = answer.await.unwrap();
        let of = |fields: &axum::http::HeaderMap| fields.get("grpc-status")?.to_str().ok()?.parse().ok();
        if let Some(status) = of(answer.headers()) {
            return status;
        }
        while let Some(data) = answer.body_mut().data().await {
            let data = data.unwrap();
            answer.body_mut().flow_control().release_capacity(data.len()).unwrap();
        }
        of(&answer.body_mut().trailers().await.unwrap().unwrap()).unwrap()
    }
}

/// A message with its prefix.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &bytes].concat()
}

/// The first bytes of a message that is never sent whole: its first field has ninety bytes, and that one of eighty.
fn half(length: u32) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes(), b"\x0a\x5a\x0a\x50"].concat()
}

const DEADLINE_EXCEEDED: u16 = 4;
const FAILED_PRECONDITION: u16 = 9;
const UNAVAILABLE: u16 = 14;

#[test]
fn a_call_that_stalls_ends_and_its_neighbours_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), "1s");
    let mut caller = Caller::at(control.grpc_address());
    let get = TierGet {
        key: b"http://a/b".to_vec(),
        ..Default::default()
    };
    // It says no more for longer than any of the others may take.
    let steady = caller.call(CONNECT, &framed(&hello_of("steady")));
    for (what, path, begin) in [
        ("half a prefix", GET, b"\0\0".to_vec()),
        ("nothing of a call", GET, Vec::new()),
        ("half a call", GET, half(100)),
        ("a call without its end", GET, framed(&get)),
        ("nothing of a stream", STATISTICS, Vec::new()),
        ("half the first message", STATISTICS, half(100)),
        ("half a hello", CONNECT, half(100)),
    ] {
        let call = caller.call(path, &begin);
        let status = caller.status(call);
        // The control stream says what it waited for.
        let expected = if path == CONNECT {
            FAILED_PRECONDITION
        } else {
            DEADLINE_EXCEEDED
        };
        assert_eq!(status, expected, "{what}");
    }
    // Half of a later message ends the stream, without a refusal: it was welcome.
    let call = caller.call(CONNECT, &[framed(&hello_of("stalls")), half(100)].concat());
    assert_eq!(caller.status(call), 0);
    let connected = |name: &str| {
        let fleet = control.rest().document("/fleet").unwrap();
        let mut envoys = fleet.as_array().unwrap().iter();
        envoys.any(|envoy| envoy["envoy"] == name && envoy["connected"] == true)
    };
    assert!(connected("steady"));
    wait::until("the other one gone", || (!connected("stalls")).then_some(())).unwrap();
    drop(steady);
}

fn hello_of(name: &str) -> FilterMessage {
    FilterMessage {
        body: Some(Body::Hello(Hello {
            instance_id: name.to_owned(),
            ..Default::default()
        })),
    }
}

#[test]
fn a_connection_has_so_many_requests_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), "30s");
    for (address, allowed) in [(control.grpc_address(), 200), (control.rest().address(), 64)] {
        let caller = Caller::at(address);
        // Until its settings have come, more may be sent than it takes.
        wait::until("the settings of HTTP/2", || {
            (caller.send.current_max_send_streams() == allowed).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn no_more_is_received_at_a_time_than_there_is_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = control_plane(folder.path(), "5m");
    let idle = control.process().unwrap().resident_mb().unwrap();
    let address = control.rest().address();
    let write = Request::new("PUT", "/settings")
        .header("content-type", "application/json")
        .body(vec![b' '; 900_000]);
    // Bodies of a megabyte, one after another, until there is no room for one more.
    let mut held: Vec<Connection> = Vec::new();
    wait::until("no room", || {
        held.push(begun(
            address,
            "PUT",
            "/settings",
            "content-length: 1048576",
            &vec![b' '; 900_000],
        ));
        let answer = control.rest().send(&write).unwrap();
        (answer.status == 503).then(|| assert_eq!(answer.json().unwrap()["code"], "too_many_bodies"))
    })
    .unwrap();
    assert!(held.len() >= 23, "no room with {}", held.len());
    // What is small has room of its own.
    let small = control
        .rest()
        .merge_patch("/settings", &serde_json::json!({"cache_size": 7}))
        .unwrap();
    assert_eq!(small.status, 200);
    let mut caller = Caller::at(control.grpc_address());
    // Six of these take the room of an address; whichever comes last is refused.
    let calls = (0..7).map(|_| caller.call(STATISTICS, &half(4 << 20))).collect();
    let (refused, others) = caller.first_status(calls);
    assert_eq!(refused, UNAVAILABLE);
    assert_eq!(others.len(), 6);
    let peak = control.process().unwrap().peak_mb().unwrap();
    println!("{idle} MB idle, {peak} MB with all that is held");
    assert!(peak - idle <= 64.0, "{peak} MB after {idle} MB");
    drop((held, others));
    wait::until("room again", || {
        (control.rest().send(&write).unwrap().status == 422).then_some(())
    })
    .unwrap();
}
