//! Connections as they come, with TLS or without. Hands are shaken aside: a client that dawdles keeps nobody waiting.

use super::tls::Acceptor;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// Connections that wait to be served.
const WAITING: usize = 128;
/// After a failure to accept, as for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection.
#[derive(Debug)]
pub(crate) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// The names, DNS and URI, in the certificate that the other end has shown; `None` without one.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        let Self::Tls(stream) = self else { return None };
        let shown = stream.get_ref().1.peer_certificates()?.first()?;
        let Ok(certificate) = EndEntityCert::try_from(shown) else {
            return Some(Vec::new());
        };
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        Some(names.map(str::to_owned).collect())
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Connections from now on, until told to stop.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<Acceptor>,
    mut stopped: watch::Receiver<bool>,
) -> mpsc::Receiver<(Io, SocketAddr)> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let tls = tls.map(Arc::new);
    tokio::spawn(async move {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
                _ = stopped.changed() => return,
            };
            // An error means that the peer is gone already.
            let _ = stream.set_nodelay(true);
            let sender = sender.clone();
            match tls.clone() {
                Some(tls) => drop(tokio::spawn(async move {
                    match tls.accept(stream).await {
                        Ok(stream) => drop(sender.send((Io::Tls(Box::new(stream)), peer)).await),
                        Err(error) => tracing::debug!(%peer, %error, "no TLS connection"),
                    }
                })),
                None => drop(sender.send((Io::Plain(stream), peer)).await),
            }
        }
    });
    receiver
}
