//! Connections to other control planes, with TLS or without.

use super::tls::{self, Files};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// A server that has not shaken hands by then is given up.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// A connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How a server with TLS is called: by one's own certificate, which is the one others are served with.
#[derive(Debug)]
pub(crate) struct Caller {
    own: Files,
    authorities: PathBuf,
    name: Option<String>,
}

impl Caller {
    /// Servers must show a certificate of these authorities, for `name` or else for the host that is called.
    ///
    /// # Errors
    /// The files cannot be used.
    pub(crate) fn open(own: Files, authorities: PathBuf, name: Option<String>) -> Result<Self, String> {
        let caller = Self { own, authorities, name };
        caller.config().map(|_| caller)
    }

    fn config(&self) -> Result<ClientConfig, String> {
        tls::client(&self.own, &self.authorities, &["h2"])
    }

    async fn shake(&self, stream: TcpStream, host: &str) -> io::Result<Box<dyn Duplex>> {
        // Connections are few: the files are read for each, so that new certificates are used.
        let config = self.config().map_err(io::Error::other)?;
        let name = self.name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let shaken = tokio::time::timeout(HANDSHAKE, shaking).await;
        let stream = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Box::new(stream))
    }
}

/// Connects to `authority`, `host:port`.
pub(crate) async fn connect(authority: &str, host: &str, caller: Option<&Caller>) -> io::Result<Box<dyn Duplex>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    match caller {
        None => Ok(Box::new(stream)),
        Some(caller) => caller.shake(stream, host).await,
    }
}
