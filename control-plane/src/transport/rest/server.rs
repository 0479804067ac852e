//! HTTP/1.1 and HTTP/2 connections.

use crate::net::incoming::Io;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// A request head must be there within this time. Until its first byte the connection itself has a deadline.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Requests of one connection at a time.
pub(crate) const STREAMS: u32 = 64;
/// Bytes of a connection, and of a request, that are received ahead of being read: what HTTP/2 begins with (RFC 9113 section 6.9.2).
pub(crate) const WINDOW: u32 = 65_535;

/// Serves until told to stop, then lets the requests under way end.
pub(super) async fn serve(
    router: Router,
    mut incoming: mpsc::Receiver<(Io, SocketAddr)>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    // Held by every connection; gone when the last one is.
    let (under_way, mut none_left) = mpsc::channel::<()>(1);
    loop {
        let (io, peer) = tokio::select! {
            next = incoming.recv() => match next {
                Some(connection) => connection,
                None => break,
            },
            _ = stopped.changed() => break,
        };
        let unread = io.unread();
        let routes = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(unread.clone());
            routes.call(request)
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(io), service)
            .into_owned();
        let (mut stopping, held) = (stopped.clone(), under_way.clone());
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = wait_for_stop(&mut stopping) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a REST connection ended early");
            }
            drop(held);
        });
    }
    drop(under_way);
    none_left.recv().await;
}

/// Returns when it is time to stop.
async fn wait_for_stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: time to stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}
