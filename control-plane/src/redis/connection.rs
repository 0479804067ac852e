//! A connection that is there or is not, and why.

use super::{Connection, Endpoint, ends_connection, reason};
use crate::kernel::sync::lock;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A connection without traffic is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No tier is of use whose answers take longer.
const SLOW: Duration = Duration::from_millis(100);
/// Slots of every Redis Cluster, by its specification.
const SLOTS: u32 = 16_384;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The engine does not answer.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// It answers, and refuses.
    #[error("refused: {0}")]
    Refused(String),
}

struct State {
    connection: Option<Connection>,
    fault: Option<String>,
    /// What is wrong although it can be used: slowness, or a lost part of a cluster.
    partly: Option<String>,
    was_slow: bool,
    wait: Duration,
}

/// What commands run on, for one purpose.
pub(crate) struct RedisConnection {
    endpoint: Endpoint,
    /// What it serves, for the log.
    purpose: &'static str,
    /// A command may take so long.
    answer: Duration,
    /// What is asked to see whether the server is there: of one key, without whose server nothing else is of use.
    probe: Cmd,
    state: Mutex<State>,
    lost: Notify,
}

impl std::fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConnection")
            .field("address", &self.endpoint.shown())
            .finish()
    }
}

impl RedisConnection {
    /// Not connected yet.
    pub(crate) fn new(endpoint: Endpoint, purpose: &'static str, answer: Duration, probe: Cmd) -> Self {
        Self {
            endpoint,
            purpose,
            answer,
            probe,
            state: Mutex::new(State {
                connection: None,
                fault: Some("not connected yet".to_owned()),
                partly: None,
                was_slow: false,
                wait: RETRY_MIN,
            }),
            lost: Notify::new(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Opens a connection for it.
    pub(crate) async fn connect(&self) -> Result<Connection, RedisError> {
        self.endpoint.connect_for(self.answer).await
    }

    /// Why nothing can be asked, or what was refused last.
    pub(crate) fn fault(&self) -> Option<String> {
        let state = self.state();
        state.fault.clone().or_else(|| state.partly.clone())
    }

    /// Whether two commands may be answered by two servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.state().connection.as_ref().is_some_and(Connection::is_cluster)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// From now on commands run on this.
    pub(crate) fn is_up(&self, connection: Connection) {
        tracing::info!(redis = self.endpoint.shown(), "{} connected", self.purpose);
        *self.state() = State {
            connection: Some(connection),
            fault: None,
            partly: None,
            was_slow: false,
            wait: RETRY_MIN,
        };
    }

    /// It could not be opened.
    pub(crate) fn is_down(&self, error: &RedisError) {
        let why = reason(error);
        let mut state = self.state();
        if state.fault.as_deref() != Some(&why) {
            tracing::warn!(
                redis = self.endpoint.shown(),
                reason = why,
                "{} cannot be used",
                self.purpose
            );
        }
        state.fault = Some(why);
    }

    /// Something beside the commands failed: the connection is given up.
    pub(crate) fn give_up(&self, why: String) {
        let mut state = self.state();
        if state.connection.take().is_some() {
            tracing::warn!(reason = why, "{} lost", self.purpose);
        }
        state.fault = Some(why);
        drop(state);
        self.lost.notify_one();
    }

    /// Waits before the next attempt, longer each time.
    pub(crate) async fn pause(&self) {
        let wait = {
            let mut state = self.state();
            let wait = state.wait;
            state.wait = (wait * 2).min(RETRY_MAX);
            wait
        };
        tokio::time::sleep(wait).await;
    }

    /// Returns when the connection is lost.
    pub(crate) async fn until_lost(&self) {
        loop {
            let _ = tokio::time::timeout(LOOK_EVERY, self.lost.notified()).await;
            let Some(connection) = self.state().connection.clone() else {
                return;
            };
            self.look(connection).await;
        }
    }

    /// Gives the connection up when the server of the key is lost, and notes what else is wrong.
    async fn look(&self, mut connection: Connection) {
        let begin = Instant::now();
        let there: RedisResult<Value> = connection.ask_for(&self.probe, self.answer).await;
        if let Some(error) = there.err().filter(ends_connection) {
            return self.give_up(reason(&error));
        }
        let slow = slow(begin.elapsed());
        let mut partly = None;
        if connection.is_cluster() {
            let mut about = redis::cmd("CLUSTER");
            let about: RedisResult<String> = connection.ask_for(about.arg("INFO"), self.answer).await;
            partly = about.ok().and_then(|about| unserved(&about));
        }
        let mut state = self.state();
        // Once may be chance, of this machine as well.
        state.partly = partly.or_else(|| slow.clone().filter(|_| state.was_slow));
        state.was_slow = slow.is_some();
    }

    /// Runs a command, and gives the connection up when it turns out to be of no use.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        let mut connection = self.connection()?;
        let answer = connection.ask_for(command, self.answer).await;
        answer.map_err(|error| self.failed(&connection, &error))
    }

    /// Runs commands on keys of one slot in their order, as [`Self::ask`] runs one.
    pub(crate) async fn ask_all(&self, commands: &[Cmd]) -> Result<Vec<Value>, Fault> {
        let mut connection = self.connection()?;
        let answer = connection.ask_all(commands, self.answer).await;
        answer.map_err(|error| self.failed(&connection, &error))
    }

    fn connection(&self) -> Result<Connection, Fault> {
        let state = self.state();
        let why = || Fault::Unreachable(state.fault.clone().unwrap_or_default());
        state.connection.clone().ok_or_else(why)
    }

    fn failed(&self, connection: &Connection, error: &RedisError) -> Fault {
        let why = reason(error);
        if !ends_connection(error) {
            return Fault::Refused(why);
        }
        if connection.is_cluster() {
            // Others of it may still answer.
            self.state().partly = Some(why.clone());
        } else {
            self.give_up(why.clone());
        }
        Fault::Unreachable(why)
    }

    /// A refused write is reported by `/health`: memory that is full, or a right that is missing. The next write that
    /// succeeds clears it.
    pub(crate) fn note<T>(&self, written: Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.state();
        match &written {
            // Lost in between, it has a reason of its own.
            Ok(_) if state.connection.is_some() => state.fault = None,
            Err(Fault::Refused(why)) => state.fault = Some(why.clone()),
            Ok(_) | Err(Fault::Unreachable(_)) => {}
        }
        drop(state);
        written
    }
}

fn slow(took: Duration) -> Option<String> {
    (took > SLOW).then(|| format!("answers take {} ms", took.as_millis()))
}

/// What a cluster says of keys that no server answers for.
fn unserved(about: &str) -> Option<String> {
    let number = |name: &str| -> Option<u32> {
        let mut lines = about.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(own, _)| *own == name)?;
        value.trim().parse().ok()
    };
    let served = number("cluster_slots_ok")?;
    (served < SLOTS).then(|| format!("{} of {SLOTS} slots of the cluster are not served", SLOTS - served))
}

#[cfg(test)]
mod tests {
    use super::unserved;

    #[test]
    fn slots_that_nobody_serves_are_told() {
        let about = |served: u32| format!("cluster_state:ok\r\ncluster_slots_ok:{served}\r\n");
        assert_eq!(unserved(&about(16_384)), None);
        let told = unserved(&about(10_923)).unwrap();
        assert_eq!(told, "5461 of 16384 slots of the cluster are not served");
    }
}
