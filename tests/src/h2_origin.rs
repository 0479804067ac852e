//! An origin that speaks HTTP/2 without TLS, and counts connections and requests apart: many of these share one of those.

use crate::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::IntoResponse;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The origin.
#[derive(Debug)]
pub struct H2Origin {
    address: SocketAddr,
    counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Counts {
    connections: AtomicUsize,
    asked: AtomicUsize,
    /// Below `/held`, requests wait for `true`.
    open: watch::Sender<bool>,
}

impl H2Origin {
    /// Starts it, with the gate closed.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts {
            connections: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            open: watch::channel(false).0,
        });
        runtime.spawn(accept(listener, Arc::clone(&counts)));
        Ok(Self {
            address,
            counts,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// How many requests there were.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.counts.asked.load(Ordering::SeqCst)
    }

    /// Lets what waits go on, or what comes from now on wait.
    pub fn gate(&self, open: bool) {
        self.counts.open.send_replace(open);
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, counts: Arc<Counts>) {
    let router = Router::new().fallback(answer).with_state(Arc::clone(&counts));
    while let Ok((stream, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::SeqCst);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let builder = Builder::new(TokioExecutor::new()).http2_only();
            // An error is the peer's end of the connection.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(State(counts): State<Arc<Counts>>, target: Uri) -> impl IntoResponse {
    counts.asked.fetch_add(1, Ordering::SeqCst);
    if target.path().starts_with("/held") {
        // The sender lives as long as this does.
        let _ = counts.open.subscribe().wait_for(|open| *open).await;
    }
    ([(header::CACHE_CONTROL, "no-store")], "content")
}
