//! Settings in files of this process alone. A full disk does not stop the fleet: what cannot be kept is in force all the same.

use super::memory::name;
use super::state_file::StateFile;
use super::{Put, PutError, SettingsStore, Version};
use crate::kernel::blocking::run_blocking;
use crate::kernel::sync::lock;
use control_domain::settings::history::SettingsHistory;
use control_domain::settings::shared_state::SharedState;
use std::sync::{Arc, Mutex, MutexGuard};

/// The place.
#[derive(Debug)]
pub(crate) struct FileStore {
    file: Arc<StateFile>,
    number: Mutex<u64>,
}

impl FileStore {
    pub(crate) fn new(file: Arc<StateFile>) -> Self {
        Self {
            file,
            number: Mutex::default(),
        }
    }

    fn number(&self) -> MutexGuard<'_, u64> {
        lock(&self.number)
    }
}

#[tonic::async_trait]
impl SettingsStore for FileStore {
    async fn version(&self) -> Result<Version, String> {
        Ok(name(*self.number()))
    }

    async fn load(&self, _: &SettingsHistory) -> Result<Option<(Version, SharedState)>, String> {
        let number = self.number();
        let agreed = self.file.load().map(|restored| SharedState {
            history: restored.history,
            // A trial ends with the process.
            canary: None,
            seen: restored.seen,
        });
        Ok(agreed.map(|agreed| (name(*number), agreed)))
    }

    async fn put(&self, base: &Version, new: &SharedState) -> Result<Put, PutError> {
        let mut number = self.number();
        if *base != name(*number) {
            return Err(PutError::Conflict);
        }
        let saved = run_blocking(|| self.file.save(&new.history, &new.seen));
        *number += 1;
        Ok(Put {
            version: name(*number),
            persist_error: saved.err().map(|error| self.file.fault(&error)),
        })
    }
}
