//! How the API server is reached: TLS by an authority of its own, and whom it lets in.

use super::{lock, status};
use crate::certificates::Certificates;
use crate::{Failure, Result};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::Listener;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Whom the server lets in.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Only who bears this token; everybody without one.
    pub(super) token: Mutex<Option<String>>,
    /// Everybody is refused so.
    pub(super) refusal: Mutex<Option<StatusCode>>,
}

/// Admits a request or answers as an API server does.
pub(super) async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let borne = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let borne = borne.and_then(|value| value.strip_prefix("Bearer "));
    let known = lock(&guard.token).as_deref().is_none_or(|token| borne == Some(token));
    let refusal = *lock(&guard.refusal);
    match refusal {
        _ if !known => status(StatusCode::UNAUTHORIZED),
        Some(refusal) => status(refusal),
        None => next.run(request).await,
    }
}

/// Connections that have shaken hands.
pub(super) struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn new(listener: TcpListener, certificates: &Certificates) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("certificates of the API server: {error}"));
        let chain = CertificateDer::pem_file_iter(certificates.file("server.pem"))
            .and_then(Iterator::collect)
            .map_err(|error| failed(&error))?;
        let key = PrivateKeyDer::from_pem_file(certificates.file("server.key")).map_err(|error| failed(&error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            listener,
            acceptor: Arc::new(config).into(),
        })
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Whoever does not trust the authority goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
