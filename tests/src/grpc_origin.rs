//! An origin of gRPC calls: the path says how a call ends.
//!
//! `/call/14`: head, then trailers with status 14. `/message/13`: a message before them. `/only/14`: a head that stands for the
//! trailers. `/stream`: messages without end. `/cut`: a message, then a reset.

use crate::Result;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use h2::server::{SendResponse, handshake};
use h2::{Reason, RecvStream, SendStream};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Five bytes of prefix, four of content.
const MESSAGE: &[u8] = b"\0\0\0\0\x04pets";

/// The origin.
#[derive(Debug)]
pub struct GrpcOrigin {
    address: SocketAddr,
    failing: Arc<AtomicBool>,
    runtime: Option<Runtime>,
}

impl GrpcOrigin {
    /// Starts it, well.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let failing = Arc::new(AtomicBool::new(false));
        runtime.spawn(accept(listener, Arc::clone(&failing)));
        Ok(Self {
            address,
            failing,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every call ends with status 14, or as its path says.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl Drop for GrpcOrigin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, failing: Arc<AtomicBool>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&failing)));
    }
}

async fn serve(stream: TcpStream, failing: Arc<AtomicBool>) {
    let Ok(mut connection) = handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let failing = failing.load(Ordering::SeqCst);
        // An error is the peer's end of the stream.
        tokio::spawn(async move { answer(&request, respond, failing).await.is_ok() });
    }
}

async fn answer(
    request: &Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    failing: bool,
) -> std::result::Result<(), h2::Error> {
    let path = if failing { "/only/14" } else { request.uri().path() };
    let mut head = Response::new(());
    head.headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    let (kind, status) = path.trim_start_matches('/').split_once('/').unwrap_or((path, "0"));
    let status = HeaderValue::from_str(status).unwrap_or(HeaderValue::from_static("2"));
    if kind == "only" {
        head.headers_mut().insert("grpc-status", status);
        respond.send_response(head, true)?;
        return Ok(());
    }
    let mut stream = respond.send_response(head, false)?;
    match kind {
        "/stream" => return flow(stream).await,
        "/cut" => {
            send(&mut stream)?;
            // Lets the message out first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "message" => send(&mut stream)?,
        _ => {}
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status);
    stream.send_trailers(trailers)
}

fn send(stream: &mut SendStream<Bytes>) -> std::result::Result<(), h2::Error> {
    stream.send_data(Bytes::from_static(MESSAGE), false)
}

async fn flow(mut stream: SendStream<Bytes>) -> std::result::Result<(), h2::Error> {
    loop {
        send(&mut stream)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
