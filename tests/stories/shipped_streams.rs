//! Exchanges that last, through the shipped configurations: WebSockets, event streams, and an origin that never answers.

use e2e::artefacts;
use e2e::bootstrap::{Bootstrap, Part, Xds};
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack, upstream};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const EVENTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// An origin that switches protocols and echoes below `/ws`, sends events for three seconds below `/events`, says which path it was
/// asked for below `/path`, and is silent elsewhere. It lives as long as the test process.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // An error is the peer's end of the connection.
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    if path.starts_with("/ws") && head.contains("upgrade: websocket") {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        let mut bytes = [0; 1_024];
        loop {
            match stream.read(&mut bytes)? {
                0 => return Ok(()),
                size => stream.write_all(&bytes[..size])?,
            }
        }
    }
    if path.starts_with("/events") {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
              transfer-encoding: chunked\r\n\r\n",
        )?;
        for number in 0..EVENTS {
            let event = format!("data: {number}\n\n");
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
            std::thread::sleep(PAUSE);
        }
        return stream.write_all(b"0\r\n\r\n");
    }
    if path.starts_with("/path") {
        let body = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{path}",
            path.len()
        );
        return stream.write_all(body.as_bytes());
    }
    std::thread::sleep(Duration::from_secs(30));
    Ok(())
}

/// Envoy from `static.yaml` with the filter in front of that origin; the limit until a response begins is `head`.
fn shipped(head: &str) -> (Envoy, TempDir) {
    let upstream = ("127.0.0.1".to_owned(), origin().port());
    let mut bootstrap = Bootstrap::bare(free_port().unwrap(), free_port().unwrap(), upstream);
    bootstrap.wasm = Some(artefacts::filter().unwrap());
    if !head.is_empty() {
        let limits = format!("timeout: 0s\nretry_policy: {{ per_try_timeout: {head} }}");
        bootstrap.parts.insert(Part::Timeouts, limits);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut envoy = Envoy::start(&bootstrap, 1, folder.path()).unwrap();
    envoy.wait_ready().unwrap();
    (envoy, folder)
}

/// Envoy under xDS in front of that origin.
fn by_xds() -> Stack {
    let plan = Plan {
        xds: Some(Xds::Delta),
        settings: json!({"upstreams": [upstream("origin", &origin().to_string())]}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("unused")).unwrap()).unwrap();
    stack.wait_xds().unwrap();
    stack
}

fn echoes(envoy: &Envoy) {
    let mut connection = Connection::open(envoy.address()).unwrap();
    let request = Request::get("/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = connection.exchange(&request).unwrap();
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("upgrade").as_deref(), Some("websocket"));
    for word in [&b"ping"[..], b"\x00\xff frames are none of Envoy's business"] {
        connection.send(word).unwrap();
        assert_eq!(connection.read_at_least(word.len()).unwrap(), word);
    }
}

/// A WebSocket as browsers open it on a connection of HTTP/2 (RFC 8441).
fn echoes_over_http2(envoy: &Envoy) {
    const CLIENT: &str = "
        const http2 = require('node:http2');
        const client = http2.connect(process.argv[1]);
        client.on('remoteSettings', (settings) => {
          if (!settings.enableConnectProtocol) throw new Error('no extended CONNECT');
          const stream = client.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws',
            ':scheme': 'http', ':authority': 'api.example', 'sec-websocket-version': '13' });
          stream.on('response', (head) => { console.log(head[':status']); stream.write('ping'); });
          stream.on('data', (bytes) => { console.log(String(bytes)); process.exit(0); });
        });
        setTimeout(() => process.exit(1), 10000);";
    let done = Command::new("node")
        .args(["-e", CLIENT, &format!("http://{}", envoy.address())])
        .output()
        .expect("node (Debian: nodejs)");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "200\nping\n", "{done:?}");
}

#[test]
fn web_sockets_pass_in_every_shipped_configuration() {
    let (envoy, _folder) = shipped("");
    echoes(&envoy);
    echoes_over_http2(&envoy);
    let stack = by_xds();
    echoes(&stack.envoy);
    echoes_over_http2(&stack.envoy);
}

#[test]
fn what_asks_for_another_protocol_or_a_tunnel_is_no_web_socket() {
    let (envoy, _folder) = shipped("");
    let upgrade = Request::get("/path")
        .header("connection", "Upgrade")
        .header("upgrade", "tunnel");
    assert_eq!(
        envoy.fetch(&upgrade).unwrap().status,
        403,
        "no upgrade but to WebSocket"
    );
    // A client may offer HTTP/2 on the connection; it gets an answer by HTTP/1.1.
    let h2c = Request::get("/path")
        .header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA");
    assert_eq!(envoy.fetch(&h2c).unwrap().status, 200);
    let tunnel = Request::new("CONNECT", "api.example:443").header("host", "api.example:443");
    assert_eq!(envoy.fetch(&tunnel).unwrap().status, 404, "this is no forward proxy");
}

#[test]
fn an_event_stream_outlives_the_limit_that_ends_a_silent_request() {
    let (envoy, _folder) = shipped("1s");
    let begun = Instant::now();
    let events = envoy.get("/events").unwrap();
    assert_eq!((events.status, events.text().matches("data: ").count()), (200, EVENTS));
    assert!(begun.elapsed() > 2 * Duration::from_secs(1), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let silent = envoy.get("/silent").unwrap();
    assert_eq!(silent.status, 504, "{silent:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn the_shipped_limits_are_for_the_head_alone() {
    let (envoy, _folder) = shipped("");
    let dump = envoy.config_dump("static_route_configs").unwrap();
    let route = dump
        .pointer("/configs/0/route_config/virtual_hosts/0/routes/0")
        .unwrap();
    assert_eq!(
        (&route["name"], &route["route"]["timeout"]),
        (&json!("origin"), &json!("0s"))
    );
    assert_eq!(route["route"]["retry_policy"], json!({"per_try_timeout": "60s"}));

    let stack = by_xds();
    let dump = stack.envoy.config_dump("dynamic_route_configs").unwrap();
    let host = dump.pointer("/configs/0/route_config/virtual_hosts/0").unwrap();
    assert_eq!(host["retry_policy"]["per_try_timeout"], "60s");
    assert_eq!(host["routes"][0]["route"]["timeout"], "0s");
    assert_eq!(
        stack.envoy.get("/events").unwrap().text().matches("data: ").count(),
        EVENTS
    );
}

#[test]
fn paths_and_names_have_one_meaning() {
    let (envoy, _folder) = shipped("");
    let stack = by_xds();
    for envoy in [&envoy, &stack.envoy] {
        for (sent, arrives) in [
            ("/path//a///b?c=//", "/path/a/b?c=//"),
            ("/path/x/../a", "/path/a"),
            // An identifier of an API: as sent.
            ("/path/group%2fproject", "/path/group%2fproject"),
        ] {
            assert_eq!(envoy.get(sent).unwrap().text(), arrives, "{sent}");
        }
        let disguised = Request::get("/path").header("x_user", "admin");
        assert_eq!(
            envoy.fetch(&disguised).unwrap().status,
            400,
            "taken for x-user by many origins"
        );
        let custom = Request::new("M-SEARCH", "/path");
        assert_eq!(envoy.fetch(&custom).unwrap().text(), "/path", "a method of UPnP");
    }
}
