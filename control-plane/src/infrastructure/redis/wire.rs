//! A connection that is there or is not, and why.

use super::{Address, Connection, ends_connection, reason};
use redis::{Cmd, FromRedisValue, RedisError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A connection without traffic is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
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
    wait: Duration,
}

/// What commands run on, for one purpose.
pub(crate) struct Wire {
    address: Address,
    /// What it serves, for the log.
    purpose: &'static str,
    /// A command may take so long.
    answer: Duration,
    state: Mutex<State>,
    lost: Notify,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("address", &self.address.shown()).finish()
    }
}

impl Wire {
    /// Not connected yet.
    pub(crate) fn new(url: &str, purpose: &'static str, answer: Duration) -> Result<Self, String> {
        Ok(Self {
            address: Address::parse(url)?,
            purpose,
            answer,
            state: Mutex::new(State {
                connection: None,
                fault: Some("not connected yet".to_owned()),
                wait: RETRY_MIN,
            }),
            lost: Notify::new(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a connection for it.
    pub(crate) async fn connect(&self) -> Result<Connection, RedisError> {
        self.address.connect_for(self.answer).await
    }

    /// Why nothing can be asked, or what was refused last.
    pub(crate) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on commands run on this.
    pub(crate) fn is_up(&self, connection: Connection) {
        tracing::info!(redis = self.address.shown(), "{} connected", self.purpose);
        *self.state() = State {
            connection: Some(connection),
            fault: None,
            wait: RETRY_MIN,
        };
    }

    /// It could not be opened.
    pub(crate) fn is_down(&self, error: &RedisError) {
        let why = reason(error);
        let mut state = self.state();
        if state.fault.as_deref() != Some(&why) {
            tracing::warn!(
                redis = self.address.shown(),
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
            if self.state().connection.is_none() {
                return;
            }
            // A failure takes the connection out.
            let _: Result<String, Fault> = self.ask(&redis::cmd("PING")).await;
        }
    }

    /// Runs a command, and gives the connection up when it turns out to be of no use.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        let (connection, fault) = {
            let state = self.state();
            (state.connection.clone(), state.fault.clone())
        };
        let Some(mut connection) = connection else {
            return Err(Fault::Unreachable(fault.unwrap_or_default()));
        };
        match connection.ask_for(command, self.answer).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let why = reason(&error);
                if ends_connection(&error) {
                    self.give_up(why.clone());
                    return Err(Fault::Unreachable(why));
                }
                Err(Fault::Refused(why))
            }
        }
    }

    /// A refused write is worth a word in the health: memory that is full, or a right that is missing. The next one that is
    /// taken clears it.
    pub(crate) fn note<T>(&self, written: Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.state();
        match &written {
            Ok(_) => state.fault = None,
            Err(Fault::Refused(why)) => state.fault = Some(why.clone()),
            Err(Fault::Unreachable(_)) => {}
        }
        drop(state);
        written
    }
}
