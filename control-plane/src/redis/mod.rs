//! One connection to Redis: a single server, a cluster, or whatever Sentinel says is the master. Commands of all requests share
//! it, pipelined.
//!
//! Reconnecting is done here and not by the client library: after a break the data set behind the address may be another one,
//! and nothing may be read from it before that was looked into. A cluster changes its servers behind the library's back; who
//! reads from it looks with each answer whether the data set is still the one that was looked into.

mod address;
mod connection;
mod endpoint;
pub(crate) mod keys;

pub(crate) use connection::{Fault, RedisConnection};
pub(crate) use endpoint::{Endpoint, TlsFiles};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value};
use std::time::Duration;

/// A server that does not answer within this time counts as gone.
pub(crate) const ANSWER: Duration = Duration::from_millis(250);

/// An open connection.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Whether it goes to several servers, of which some may be lost.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

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

    /// Runs commands on keys of one slot, one after the other, without waiting between them. Some may have been run when this
    /// fails.
    pub(crate) async fn ask_all(&mut self, commands: &[Cmd], answer: Duration) -> RedisResult<Vec<Value>> {
        let mut all = redis::pipe();
        for command in commands {
            all.add_command(command.clone());
        }
        match self {
            Self::Single(connection) => within(answer, all.query_async(connection)).await,
            Self::Cluster(connection) => within(answer, all.query_async(connection)).await,
        }
    }
}

async fn run<T: FromRedisValue>(
    command: &Cmd,
    connection: &mut impl ConnectionLike,
    answer: Duration,
) -> RedisResult<T> {
    within(answer, command.query_async(connection)).await
}

/// The library's own time-out covers the answer; this one also what waits before it is sent.
async fn within<T>(answer: Duration, request: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(answer, request).await {
        Ok(answer) => answer,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// The first refusal of the server, of one command or of several; code and details.
fn refusal(error: &RedisError) -> Option<(String, Option<String>)> {
    let refused = error.clone().into_server_errors()?;
    let (_, first) = refused.first()?;
    Some((first.code().to_owned(), first.details().map(str::to_owned)))
}

/// What went wrong, in one line without secrets.
pub(crate) fn reason(error: &RedisError) -> String {
    match refusal(error) {
        Some((code, Some(details))) => format!("{code} {details}"),
        Some((code, None)) => code,
        None if error.is_timeout() => "no answer in time".to_owned(),
        None => error.to_string(),
    }
}

/// Whether the connection is of no use any more: it broke, or its server is not (or no longer) the one to write to.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    const OF_NO_USE: [&str; 6] = [
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "NOAUTH",
        "WRONGPASS",
    ];
    let refused = refusal(error).is_some_and(|(code, _)| OF_NO_USE.contains(&code.as_str()));
    refused || error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
}
