//! A client of HTTP/2 that sees trailers and how an answer ends.

use super::ask::{Ask, Content, Manner};
use super::h1::{LEAVES_AFTER, PAUSES, SILENCE, SLOWLY};
use super::seen::{End, Seen};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use e2e::{Failure, Result};
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Five bytes of prefix, four of content.
const MESSAGE: &[u8] = b"\0\0\0\0\x04pets";
/// Messages of an endless stream after which the client leaves.
const ENOUGH: usize = 3 * MESSAGE.len();

/// A connection.
#[derive(Debug)]
pub(super) struct H2 {
    runtime: Handle,
    sender: SendRequest<Bytes>,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

impl H2 {
    pub(super) fn open(runtime: &Handle, address: SocketAddr) -> Result<Self> {
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
            // An error is the peer's end of the connection.
            tokio::spawn(async move { drop(connection.await) });
            // Its settings say whether it takes an extended CONNECT.
            let end = Instant::now() + SILENCE;
            while !sender.is_extended_connect_protocol_enabled() && Instant::now() < end {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                sender = sender.ready().await.map_err(failed)?;
            }
            Ok::<_, Failure>(sender)
        })?;
        Ok(Self {
            runtime: runtime.clone(),
            sender,
        })
    }

    /// Sends it and sees the answer; whether the connection can be used on.
    pub(super) fn exchange(&mut self, ask: &Ask, id: &str) -> (Seen, bool) {
        let mut seen = Seen::new(Instant::now());
        let sender = self.sender.clone();
        let ended = self.runtime.block_on(async {
            let conversation = converse(sender, ask, id, &mut seen);
            tokio::time::timeout(SILENCE, conversation).await
        });
        seen.took = seen.asked.elapsed();
        seen.end = match ended {
            Ok(Ok(end)) => end,
            Ok(Err(_)) => End::Cut,
            Err(_) => End::Silent,
        };
        (seen.clone(), matches!(seen.end, End::Whole | End::Left))
    }
}

async fn converse(sender: SendRequest<Bytes>, ask: &Ask, id: &str, seen: &mut Seen) -> Result<End> {
    let socket = ask.manner == Manner::WebSocket;
    let tunnel = ask.manner == Manner::Tunnel;
    let method = if socket { "CONNECT" } else { ask.method };
    let uri = if tunnel {
        ask.path.clone()
    } else {
        format!("http://api.example{}", ask.path)
    };
    let mut head = Request::builder().method(method).uri(uri).header("x-ask", id);
    for (name, value) in &ask.fields {
        // An extended CONNECT and HTTP/2 have no such fields.
        if !matches!(*name, "connection" | "upgrade" | "http2-settings") {
            head = head.header(*name, value);
        }
    }
    if socket {
        head = head.extension(Protocol::from_static("websocket"));
    }
    let head = head.body(()).map_err(failed)?;
    let mut sender = sender.ready().await.map_err(failed)?;
    let follows = socket || tunnel || ask.content != Content::None || matches!(ask.manner, Manner::Grpc(_));
    let (answer, mut out) = sender.send_request(head, !follows).map_err(failed)?;
    if follows && !socket && !tunnel {
        // An answer may come before the content is taken.
        let _ = send_content(ask, &mut out);
    }
    if ask.manner == Manner::Leave(0) {
        tokio::time::sleep(LEAVES_AFTER).await;
        return Ok(End::Left);
    }
    let mut content = read_head(answer, seen).await?;
    if socket || tunnel {
        return speak(&mut out, &mut content, seen).await;
    }
    read_content(ask, &mut content, seen).await
}

fn send_content(ask: &Ask, out: &mut SendStream<Bytes>) -> std::result::Result<(), h2::Error> {
    if let Manner::Grpc(messages) = ask.manner {
        for _ in 1..messages {
            out.send_data(Bytes::from_static(MESSAGE), false)?;
        }
        return out.send_data(Bytes::from_static(MESSAGE), true);
    }
    let (size, trailers) = match ask.content {
        Content::None => (0, false),
        Content::Length(size) | Content::Expect(size) => (size, false),
        Content::Chunked(size) => (size, true),
    };
    out.send_data(Bytes::from(vec![b'c'; size]), !trailers)?;
    if trailers {
        let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
        out.send_trailers(HeaderMap::from_iter([sum]))?;
    }
    Ok(())
}

async fn read_head(answer: ResponseFuture, seen: &mut Seen) -> Result<RecvStream> {
    let (head, content) = answer.await.map_err(failed)?.into_parts();
    seen.status = head.status.as_u16();
    seen.fields = lines(&head.headers);
    Ok(content)
}

fn lines(map: &HeaderMap) -> Vec<(String, String)> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    map.iter().map(line).collect()
}

async fn speak(out: &mut SendStream<Bytes>, content: &mut RecvStream, seen: &mut Seen) -> Result<End> {
    if seen.status != 200 {
        return Ok(End::Whole);
    }
    for word in [&b"hello"[..], b"\x00\xff", b"bye."] {
        let before = seen.body.len();
        out.send_data(Bytes::from_static(word), false).map_err(failed)?;
        while seen.body.len() < before + word.len() {
            let part = content.data().await.ok_or_else(|| failed("closed"))?.map_err(failed)?;
            seen.body.extend_from_slice(&part);
        }
    }
    Ok(End::Whole)
}

async fn read_content(ask: &Ask, content: &mut RecvStream, seen: &mut Seen) -> Result<End> {
    let enough = match ask.manner {
        Manner::Leave(after) => after,
        Manner::Grpc(_) if ask.path == "/stream" => ENOUGH,
        _ => usize::MAX,
    };
    let mut pauses = if ask.manner == Manner::Slow { PAUSES } else { 0 };
    while seen.body.len() < enough {
        let Some(part) = content.data().await else {
            if let Some(trailers) = content.trailers().await.map_err(failed)? {
                seen.trailers = lines(&trailers);
            }
            return Ok(End::Whole);
        };
        let part = part.map_err(failed)?;
        // An error is the end of the connection, which the next part tells.
        let _ = content.flow_control().release_capacity(part.len());
        seen.body.extend_from_slice(&part);
        if pauses > 0 {
            pauses -= 1;
            tokio::time::sleep(SLOWLY).await;
        }
    }
    Ok(End::Left)
}
