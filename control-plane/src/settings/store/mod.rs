//! Where the settings are kept, and who decides which of two writers was first: this process, or a store that all replicas share.

#[cfg(test)]
mod contract;
mod file;
mod memory;
mod redis;
pub(crate) mod state_file;

use file::FileStore;
use memory::MemoryStore;
use redis::RedisStore;

use crate::redis::RedisConnection;
use crate::redis::keys::Keys;
use control_domain::settings::history::SettingsHistory;
use control_domain::settings::shared_state::SharedState;
use state_file::StateFile;
use std::sync::Arc;

/// Names a state; the empty name is that of a place where this process has found or written nothing yet.
pub(crate) type Version = String;

/// A state that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) version: Version,
    /// Why it would not survive a restart. It is in force all the same: nobody else decides.
    pub(crate) persist_error: Option<String>,
}

/// Why a state was not put; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PutError {
    /// Another one has been put since the one it was made from.
    Conflict,
    /// It cannot be said which is the present one, or whether this one was taken.
    Unavailable(String),
}

/// A place for the settings.
#[tonic::async_trait]
pub(crate) trait SettingsStore: std::fmt::Debug + Send + Sync {
    /// The name of the present state.
    async fn version(&self) -> Result<Version, String>;

    /// The present state and its name; `None` when there is none yet. `known` spares reading a history again.
    async fn load(&self, known: &SettingsHistory) -> Result<Option<(Version, SharedState)>, String>;

    /// Puts a state in place of the one named `base`, unless that is not the present one any more.
    async fn put(&self, base: &Version, new: &SharedState) -> Result<Put, PutError>;
}

/// Where replicas share them.
pub(crate) type Shared = (Arc<RedisConnection>, Keys);

/// The place for the settings: what replicas share, else files, else none that outlives the process.
pub(crate) fn open(state: Option<&Arc<StateFile>>, shared: Option<Shared>) -> Arc<dyn SettingsStore> {
    match (shared, state) {
        (Some((connection, keys)), _) => Arc::new(RedisStore::new(connection, keys)),
        (None, Some(state)) => Arc::new(FileStore::new(Arc::clone(state))),
        (None, None) => Arc::new(MemoryStore::default()),
    }
}
