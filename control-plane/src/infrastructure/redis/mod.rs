//! One connection to Redis: a single server, a cluster, or whatever Sentinel says is the master. Commands of all requests share
//! it, pipelined.
//!
//! Reconnecting is done here and not by the client library: after a break the data set behind the address may be another one,
//! and nothing may be read from it before that was looked into.

mod wire;

pub(crate) use wire::{Fault, Wire};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult};
use std::time::Duration;

/// A server that does not answer for so long is as good as gone.
pub(crate) const ANSWER: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(2);

/// Where Redis is.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// `redis://` or `rediss://`.
    Single(String),
    /// `redis+cluster://host:port,host:port`, with `rediss` for TLS.
    Cluster(Vec<String>),
    /// `redis+sentinel://user:password@host:port,host:port/service/db`.
    Sentinel {
        sentinels: Vec<String>,
        service: String,
        user: Option<String>,
        password: Option<String>,
        db: i64,
    },
}

impl Address {
    /// Reads `REDIS_URL`.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("REDIS_URL: no scheme")?;
        match scheme {
            "redis" | "rediss" | "redis+unix" | "unix" => {
                url.into_connection_info()
                    .map_err(|error| format!("REDIS_URL: {}", reason(&error)))?;
                Ok(Self::Single(url.to_owned()))
            }
            "redis+cluster" | "rediss+cluster" => {
                let scheme = scheme.trim_end_matches("+cluster");
                let (credentials, hosts) = rest.rsplit_once('@').map_or(("", rest), |(who, hosts)| (who, hosts));
                let at = if credentials.is_empty() { "" } else { "@" };
                let hosts = hosts.trim_end_matches('/').split(',');
                Ok(Self::Cluster(
                    hosts
                        .map(|host| format!("{scheme}://{credentials}{at}{host}"))
                        .collect(),
                ))
            }
            "redis+sentinel" => sentinel(rest),
            _ => Err(
                "REDIS_URL: allowed schemes are redis, rediss, redis+cluster, rediss+cluster and redis+sentinel"
                    .to_owned(),
            ),
        }
    }

    /// For operators, without credentials.
    pub(crate) fn shown(&self) -> String {
        let bare = |url: &str| {
            let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        };
        match self {
            Self::Single(url) => bare(url),
            Self::Cluster(urls) => format!(
                "cluster of {}",
                urls.iter().map(|url| bare(url)).collect::<Vec<_>>().join(", ")
            ),
            Self::Sentinel { sentinels, service, .. } => format!("{service} of sentinels {}", sentinels.join(", ")),
        }
    }

    /// Connects, and sees that the server answers. Commands may take so long.
    pub(crate) async fn connect_for(&self, answer: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        match self {
            Self::Single(url) => {
                let client = Client::open(url.as_str())?;
                Ok(Connection::Single(
                    client.get_multiplexed_async_connection_with_config(&config).await?,
                ))
            }
            Self::Cluster(urls) => {
                let client = ClusterClientBuilder::new(urls.iter().map(String::as_str))
                    .connection_timeout(CONNECT)
                    .response_timeout(answer)
                    .retries(1)
                    .build()?;
                Ok(Connection::Cluster(client.get_async_connection().await?))
            }
            Self::Sentinel {
                sentinels,
                service,
                user,
                password,
                db,
            } => {
                let addresses = sentinels.iter().filter_map(|sentinel| {
                    let (host, port) = sentinel.rsplit_once(':').unwrap_or((sentinel, "26379"));
                    Some(redis::ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?))
                });
                let mut builder = SentinelClientBuilder::new(addresses, service.clone(), SentinelServerType::Master)?
                    .set_client_to_redis_db(*db);
                if let Some(user) = user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = password {
                    builder = builder.set_client_to_redis_password(password);
                }
                let mut client = builder.build()?;
                Ok(Connection::Single(
                    client.get_async_connection_with_config(&config).await?,
                ))
            }
        }
    }
}

fn sentinel(rest: &str) -> Result<Address, String> {
    let (credentials, rest) = rest
        .rsplit_once('@')
        .map_or((None, rest), |(who, rest)| (Some(who), rest));
    let mut parts = rest.split('/');
    let hosts = parts.next().unwrap_or_default();
    let service = parts.next().filter(|service| !service.is_empty());
    let (user, password) = match credentials.map(|who| who.split_once(':').unwrap_or((who, ""))) {
        Some((user, password)) => (Some(user).filter(|user| !user.is_empty()), Some(password)),
        None => (None, None),
    };
    Ok(Address::Sentinel {
        sentinels: hosts.split(',').map(str::to_owned).collect(),
        service: service
            .ok_or("REDIS_URL: redis+sentinel://host:port,host:port/service names the service")?
            .to_owned(),
        user: user.map(str::to_owned),
        password: password.map(str::to_owned),
        db: match parts.next() {
            None | Some("") => 0,
            Some(db) => db.parse().map_err(|_| "REDIS_URL: the database is a number")?,
        },
    })
}

/// An open connection.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Runs one command.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        self.ask_for(command, ANSWER).await
    }

    /// Runs one command that may take so long.
    pub(crate) async fn ask_for<T: FromRedisValue>(&mut self, command: &Cmd, answer: Duration) -> RedisResult<T> {
        match self {
            Self::Single(connection) => run(command, connection, answer).await,
            Self::Cluster(connection) => run(command, connection, answer).await,
        }
    }
}

async fn run<T: FromRedisValue>(
    command: &Cmd,
    connection: &mut impl ConnectionLike,
    answer: Duration,
) -> RedisResult<T> {
    // The library's own time-out covers the answer; this one also what waits before it is sent.
    match tokio::time::timeout(answer, command.query_async(connection)).await {
        Ok(answer) => answer,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// What went wrong, in one line without secrets.
pub(crate) fn reason(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) if error.is_timeout() => "no answer in time".to_owned(),
        (None, _) => error.to_string(),
    }
}

/// Whether the connection is of no use any more: it broke, or its server is not (or no longer) the one to write to.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || matches!(
            error.code(),
            Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "NOAUTH" | "WRONGPASS")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        for (url, shown) in [
            ("redis://user:secret@cache:6379/2", "redis://cache:6379/2"),
            ("rediss://:secret@cache", "rediss://cache"),
            (
                "redis+cluster://user:secret@a:1,b:2",
                "cluster of redis://a:1, redis://b:2",
            ),
            ("redis+sentinel://:secret@a:1,b:2/main/3", "main of sentinels a:1, b:2"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.shown(), shown);
        }
        for bad in [
            "cache:6379",
            "http://cache",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/s/x",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
