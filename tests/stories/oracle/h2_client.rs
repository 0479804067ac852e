//! HTTP/2 without TLS, with `:scheme` and `:authority` as given.

use axum::body::Bytes;
use axum::http::{Method, Request, Uri, Version};
use e2e::client::Response;
use e2e::{Failure, Result};
use h2::client::SendRequest;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A connection and what drives it.
pub(super) struct H2Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// A request head and content.
#[derive(Debug)]
pub(super) struct H2Request<'a> {
    pub(super) method: &'a str,
    pub(super) scheme: &'a str,
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) fields: &'a [(String, String)],
    pub(super) body: &'a str,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

impl H2Client {
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
            // An error is the peer's end of the connection.
            tokio::spawn(async move { drop(connection.await) });
            Ok::<_, Failure>(sender)
        })?;
        Ok(Self { runtime, sender })
    }

    pub(super) fn exchange(&mut self, request: &H2Request<'_>) -> Result<Response> {
        let sender = self.sender.clone();
        self.runtime.block_on(async {
            let exchange = tokio::time::timeout(Duration::from_secs(20), exchange(sender, request));
            exchange.await.map_err(failed)?
        })
    }
}

async fn exchange(sender: SendRequest<Bytes>, request: &H2Request<'_>) -> Result<Response> {
    let uri = Uri::builder()
        .scheme(request.scheme)
        .authority(request.authority)
        .path_and_query(request.path)
        .build()
        .map_err(failed)?;
    let method = Method::from_bytes(request.method.as_bytes()).map_err(failed)?;
    let mut head = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for (name, value) in request.fields {
        head = head.header(name, value);
    }
    let head = head.body(()).map_err(failed)?;
    let mut sender = sender.ready().await.map_err(failed)?;
    let (answer, mut stream) = sender.send_request(head, request.body.is_empty()).map_err(failed)?;
    if !request.body.is_empty() {
        let body = Bytes::copy_from_slice(request.body.as_bytes());
        // An answer may come before the content is taken.
        let _ = stream.send_data(body, true);
    }
    let (head, mut content) = answer.await.map_err(failed)?.into_parts();
    let mut response = Response {
        status: head.status.as_u16(),
        fields: Vec::new(),
        body: Vec::new(),
    };
    for (name, value) in &head.headers {
        response.fields.push((name.to_string(), value.as_bytes().to_vec()));
    }
    while let Some(part) = content.data().await {
        let part = part.map_err(failed)?;
        // An error is the end of the connection, which the next part tells.
        let _ = content.flow_control().release_capacity(part.len());
        response.body.extend_from_slice(&part);
    }
    Ok(response)
}
