//! TLS for REST and gRPC: certificate and key from files, read again when they change. With an authority for clients it is mutual.

use crate::kernel::watched_file::WatchedFile;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// A client that has not shaken hands by then is dropped.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where certificates are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificates: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients must show a certificate of one of these.
    pub(crate) client_authorities: Option<PathBuf>,
}

impl Files {
    /// `None` without a certificate.
    ///
    /// # Errors
    /// A certificate without a key, or the reverse: leaving TLS out instead would open what is to be guarded.
    pub(crate) fn of(
        name: &str,
        certificates: Option<PathBuf>,
        key: Option<PathBuf>,
        client_authorities: Option<PathBuf>,
    ) -> Result<Option<Self>, String> {
        match (certificates, key, client_authorities) {
            (Some(certificates), Some(key), client_authorities) => Ok(Some(Self {
                certificates,
                key,
                client_authorities,
            })),
            (None, None, None) => Ok(None),
            _ => Err(format!("{name}_TLS_CERT_FILE and {name}_TLS_KEY_FILE belong together")),
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        let files = [
            Some(&self.certificates),
            Some(&self.key),
            self.client_authorities.as_ref(),
        ];
        files.into_iter().flatten().cloned().collect()
    }

    fn read(&self, protocols: &[&str]) -> Result<ServerConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.client_authorities {
            Some(path) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(authorities(path)?, provider)
                    .build()
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            ),
            None => builder.with_no_client_auth(),
        };
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| format!("{}: {error}", self.key.display()))?;
        let mut config = builder
            .with_single_cert(certificates(&self.certificates)?, key)
            .map_err(|error| format!("{}: {error}", self.certificates.display()))?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

/// What a client shows, and whom it believes.
///
/// # Errors
/// The files cannot be used.
pub(super) fn client(own: &Files, believed: &Path, protocols: &[&str]) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|error| format!("{}: {error}", own.key.display()))?;
    let mut config = builder
        .with_root_certificates(authorities(believed)?)
        .with_client_auth_cert(certificates(&own.certificates)?, key)
        .map_err(|error| format!("{}: {error}", own.certificates.display()))?;
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(Arc::new(store))
}

/// The certificates in force.
#[derive(Debug)]
pub(crate) struct Acceptor(WatchedFile<ServerConfig>);

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn open(files: Files, protocols: &'static [&'static str]) -> Result<Self, String> {
        WatchedFile::open("certificates", files.all(), move || files.read(protocols)).map(Self)
    }

    /// Does the TLS handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let shaking = TlsAcceptor::from(self.0.present()).accept(stream);
        tokio::time::timeout(HANDSHAKE, shaking)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Makes this process's TLS, also as a client, use one provider of cryptography.
pub(crate) fn install_provider() {
    // An error means that there is one already.
    let _ = CryptoProvider::install_default(ring::default_provider());
}
