//! Where the settings are kept, and who decides which of two writers was first: this process, or a store that all replicas share.

#[cfg(test)]
mod contract;
mod file;
mod memory;
mod redis;
pub(crate) mod state_file;

use file::FileRepository;
pub(crate) use file::off_the_runtime;
use memory::MemoryRepository;
use redis::RedisRepository;

use crate::replication::Replicas;
use crate::settings::store::state_file::StateFile;
use control_domain::agreement::Agreed;
use control_domain::book::Book;
use std::sync::Arc;

/// Names a state; the empty name is that of a place where this process has found or written nothing yet.
pub(crate) type Version = String;

/// A state that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) version: Version,
    /// Why it would not survive a restart. It is in force all the same: nobody else decides.
    pub(crate) not_kept: Option<String>,
}

/// Why a state was not put; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unput {
    /// Another one has been put since the one it was made from.
    Conflict,
    /// It cannot be said which is the present one, or whether this one was taken.
    Unavailable(String),
}

/// A place for the settings.
#[tonic::async_trait]
pub(crate) trait Repository: std::fmt::Debug + Send + Sync {
    /// The name of the present state.
    async fn version(&self) -> Result<Version, String>;

    /// The present state and its name; `None` when there is none yet. `known` spares reading a history again.
    async fn load(&self, known: &Book) -> Result<Option<(Version, Agreed)>, String>;

    /// Puts a state in place of the one named `base`, unless that is not the present one any more.
    async fn put(&self, base: &Version, new: &Agreed) -> Result<Put, Unput>;
}

/// The place for the settings: what replicas share, else files, else none that outlives the process.
pub(crate) fn open(state: Option<&Arc<StateFile>>, replicas: Option<&Replicas>) -> Arc<dyn Repository> {
    match (replicas, state) {
        (Some(replicas), _) => Arc::new(RedisRepository::new(Arc::clone(&replicas.wire), replicas.keys.clone())),
        (None, Some(state)) => Arc::new(FileRepository::new(Arc::clone(state))),
        (None, None) => Arc::new(MemoryRepository::default()),
    }
}
