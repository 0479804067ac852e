//! Settings that end with the process.

use super::{Put, PutError, SettingsStore, Version};
use crate::kernel::sync::lock;
use control_domain::settings::history::SettingsHistory;
use control_domain::settings::shared_state::SharedState;
use std::sync::{Mutex, MutexGuard};

/// The place.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    present: Mutex<(u64, Option<SharedState>)>,
}

impl MemoryStore {
    fn present(&self) -> MutexGuard<'_, (u64, Option<SharedState>)> {
        lock(&self.present)
    }
}

/// Names by number, for places with one writing process.
pub(super) fn name(number: u64) -> Version {
    if number == 0 {
        Version::new()
    } else {
        number.to_string()
    }
}

#[tonic::async_trait]
impl SettingsStore for MemoryStore {
    async fn version(&self) -> Result<Version, String> {
        Ok(name(self.present().0))
    }

    async fn load(&self, _: &SettingsHistory) -> Result<Option<(Version, SharedState)>, String> {
        let present = self.present();
        Ok(present.1.clone().map(|agreed| (name(present.0), agreed)))
    }

    async fn put(&self, base: &Version, new: &SharedState) -> Result<Put, PutError> {
        let mut present = self.present();
        if *base != name(present.0) {
            return Err(PutError::Conflict);
        }
        *present = (present.0 + 1, Some(new.clone()));
        Ok(Put {
            version: name(present.0),
            persist_error: None,
        })
    }
}
