//! TLS for REST and gRPC: certificate and key from files, read again when they change. With an authority for clients it is mutual.

use crate::kernel::sync::lock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
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

    fn changed(&self) -> Vec<Option<SystemTime>> {
        [
            Some(&self.certificates),
            Some(&self.key),
            self.client_authorities.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok())
        .collect()
    }

    fn read(&self, protocols: &[&str]) -> Result<Arc<ServerConfig>, String> {
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
        Ok(Arc::new(config))
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
pub(crate) struct Acceptor {
    files: Files,
    protocols: &'static [&'static str],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    changed: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn open(files: Files, protocols: &'static [&'static str]) -> Result<Self, String> {
        let state = State {
            changed: files.changed(),
            config: files.read(protocols)?,
            looked: Instant::now(),
        };
        Ok(Self {
            files,
            protocols,
            state: Mutex::new(state),
        })
    }

    /// Does the TLS handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let shaking = TlsAcceptor::from(self.present()).accept(stream);
        tokio::time::timeout(HANDSHAKE, shaking)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The files as last read; those that cannot be used any more leave the last good ones.
    fn present(&self) -> Arc<ServerConfig> {
        let mut state = lock(&self.state);
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let changed = self.files.changed();
            if changed != state.changed {
                state.changed = changed;
                match self.files.read(self.protocols) {
                    Ok(config) => {
                        tracing::info!(certificates = %self.files.certificates.display(), "certificates read again");
                        state.config = config;
                    }
                    Err(error) => tracing::error!(error, "certificates cannot be used, the last good ones stay"),
                }
            }
        }
        Arc::clone(&state.config)
    }
}

/// Makes this process's TLS, also as a client, use one provider of cryptography.
pub(crate) fn install_provider() {
    // An error means that there is one already.
    let _ = CryptoProvider::install_default(ring::default_provider());
}
