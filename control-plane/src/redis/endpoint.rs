//! How to get to Redis: its address, and whom to trust on the way.

use super::Connection;
use super::address::Address;
use redis::cluster::{ClusterClientBuilder, TlsMode};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, RedisError, RedisResult, TlsCertificates};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(2);
/// Asking sentinels that do not answer, or nodes of a cluster, takes several connections.
const CONNECT_ALL: Duration = Duration::from_secs(5);
/// Between two attempts of one command when a cluster is about to move its key.
const RETRY_MS: (u64, u64) = (5, 20);

/// Certificates for TLS, as PEM files that are read at each connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    /// Authorities of the servers' certificates; without one those of the machine.
    pub(crate) authorities: Option<PathBuf>,
    /// What this client shows, where a server asks for it: chain and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Checks that what belongs together is there.
    pub(crate) fn of(
        authorities: Option<PathBuf>,
        certificates: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Self, String> {
        let client = match (certificates, key) {
            (Some(certificates), Some(key)) => Some((certificates, key)),
            (None, None) => None,
            _ => return Err("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE belong together".to_owned()),
        };
        Ok(Self { authorities, client })
    }

    fn is_given(&self) -> bool {
        self.authorities.is_some() || self.client.is_some()
    }

    async fn read(&self) -> Result<TlsCertificates, RedisError> {
        let root_cert = match &self.authorities {
            Some(path) => Some(contents(path).await?),
            None => None,
        };
        let client_tls = match &self.client {
            Some((certificates, key)) => Some(ClientTlsConfig {
                client_cert: contents(certificates).await?,
                client_key: contents(key).await?,
            }),
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}

async fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Where Redis is and how to get there.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: Address,
    tls: TlsFiles,
}

impl Endpoint {
    /// Reads `REDIS_URL`.
    ///
    /// # Errors
    /// It does not read as a URL of Redis, or certificates are given for a connection without TLS: it would be open to all.
    pub(crate) fn parse(url: &str, tls: TlsFiles) -> Result<Self, String> {
        let address = Address::parse(url)?;
        if tls.is_given() && !address.is_encrypted() {
            return Err("REDIS_TLS_* files are given, but REDIS_URL does not begin with rediss".to_owned());
        }
        Ok(Self { address, tls })
    }

    /// For operators, without credentials.
    pub(crate) fn shown(&self) -> String {
        self.address.shown()
    }

    /// Connects, and sees that the server answers. Commands may take so long.
    pub(crate) async fn connect_for(&self, answer: Duration) -> RedisResult<Connection> {
        match tokio::time::timeout(CONNECT_ALL, self.open(answer)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    async fn open(&self, answer: Duration) -> RedisResult<Connection> {
        let certificates = if self.tls.is_given() {
            Some(self.tls.read().await?)
        } else {
            None
        };
        match &self.address {
            Address::Single(url) => single(url, certificates, answer).await,
            Address::Cluster(urls) => cluster(urls, certificates, answer).await,
            Address::Sentinel { .. } => {
                let mut client = self.sentinels(certificates)?;
                let opened = client.get_async_connection_with_config(&config(answer)).await;
                opened.map(Connection::Single)
            }
        }
    }

    fn sentinels(&self, certificates: Option<TlsCertificates>) -> RedisResult<SentinelClient> {
        let Address::Sentinel {
            sentinels,
            service,
            user,
            password,
            db,
            tls,
        } = &self.address
        else {
            return Err(io::Error::other("no sentinels").into());
        };
        let addresses = sentinels.iter().map(|(host, port)| sentinel(host, *port, *tls));
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?;
        builder = builder.set_client_to_redis_db(*db);
        if *tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        if let Some(user) = user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_redis_password(password);
        }
        builder.build()
    }
}

fn sentinel(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host.to_owned(), port)
    }
}

fn config(answer: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(answer))
}

async fn single(url: &str, certificates: Option<TlsCertificates>, answer: Duration) -> RedisResult<Connection> {
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(url, certificates)?,
        None => Client::open(url)?,
    };
    let opened = client
        .get_multiplexed_async_connection_with_config(&config(answer))
        .await;
    opened.map(Connection::Single)
}

async fn cluster(urls: &[String], certificates: Option<TlsCertificates>, answer: Duration) -> RedisResult<Connection> {
    let mut builder = ClusterClientBuilder::new(urls.iter().map(String::as_str))
        .connection_timeout(CONNECT)
        .response_timeout(answer)
        .retries(1)
        .min_retry_wait(RETRY_MS.0)
        .max_retry_wait(RETRY_MS.1);
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    Ok(Connection::Cluster(builder.build()?.get_async_connection().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_go_with_encrypted_connections_only_and_in_pairs() {
        let file = || Some(PathBuf::from("x.pem"));
        assert!(TlsFiles::of(None, file(), None).is_err());
        let tls = TlsFiles::of(file(), None, None).unwrap();
        assert!(Endpoint::parse("redis://a", tls.clone()).is_err());
        assert!(Endpoint::parse("rediss://a", tls.clone()).is_ok());
        assert!(Endpoint::parse("rediss+sentinel://a/main", tls).is_ok());
    }
}
