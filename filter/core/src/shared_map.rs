//! The port to process-wide shared data: the one memory all workers of an Envoy have in common.

use bytes::Bytes;
use std::fmt;

/// Version of a value, for compare-and-swap. Never 0 in a host's answer.
pub type Cas = u32;

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetError {
    /// Another worker changed the value since it was read.
    CasMismatch,
    /// The host refused for a reason of its own.
    Host,
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CasMismatch => "value changed since it was read",
            Self::Host => "host refused the write",
        })
    }
}

/// What a place holds before its first record. Not an empty value: of that the host tells no version, so two workers could
/// overwrite each other's first record.
const NOTHING: &[u8] = &[0];

/// Creates a table's places, which two workers must not create at once. Done by the base VM, before the workers.
pub(crate) fn seed_places<K: AsRef<[u8]>>(map: &impl SharedMap, places: u64, key: impl Fn(u64) -> K) {
    if map.get(key(places.saturating_sub(1)).as_ref()).is_some() {
        return;
    }
    for place in 0..places {
        let key = key(place);
        if map.get(key.as_ref()).is_none() {
            // A failure leaves a place absent; of two first records in it one may then be lost.
            let _ = map.set(key.as_ref(), NOTHING, None);
        }
    }
}

/// What a version says is trusted for so long: a worker can die between a write and the move of its version.
pub(crate) const TRUSTED_MS: crate::Millis = 1_000;

/// Process-wide shared data as Envoy offers it.
///
/// There is no delete and no listing: a key once set stays for the life of the process, so callers use a fixed set of keys.
/// Setting an empty value gives the value's memory back.
pub trait SharedMap {
    /// The value and its version; `None` when the key was never set, its value is empty, or the host failed.
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)>;

    /// As [`get`](Self::get), of a large value: a host that can lends its own memory in place of a copy.
    fn lend(&self, key: &[u8]) -> Option<(Bytes, Cas)> {
        self.get(key).map(|(value, version)| (value.into(), version))
    }

    /// Writes a value. With `Some(cas)` only if the version still is `cas`; a key that does not exist is created whatever
    /// `cas` says, so create-if-absent cannot be expressed.
    ///
    /// # Errors
    /// [`SetError::CasMismatch`] when the version moved on, [`SetError::Host`] for anything else.
    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError>;

    /// The version of a key whose value is empty: how often something was done, without what. A read that moves no value into the VM
    /// costs a fraction of one that does. `None` when the key was never set or the host failed.
    fn version(&self, key: &[u8]) -> Option<Cas>;

    /// Moves such a key's version on. A host that fails leaves it: whoever trusts versions asks for the truth now and then besides.
    fn bump(&self, key: &[u8]) {
        let _ = self.set(key, &[], None);
    }
}

#[cfg(test)]
pub(crate) mod explore;
pub mod keys;

#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryMap;

#[cfg(any(test, feature = "testing"))]
mod memory {
    use super::{Cas, SetError, SharedMap};
    use std::collections::HashMap;
    use std::sync::Mutex;

    type Values = HashMap<Vec<u8>, (Vec<u8>, Cas)>;

    /// Shared data in memory with Envoy's own oddities, and counters of the calls made.
    #[derive(Debug, Default)]
    pub struct MemoryMap {
        values: Mutex<Values>,
        last_cas: Mutex<Cas>,
        reads: std::sync::atomic::AtomicU64,
        writes: std::sync::atomic::AtomicU64,
        versions: std::sync::atomic::AtomicU64,
        failing: std::sync::atomic::AtomicBool,
    }

    impl MemoryMap {
        /// Reads made so far.
        pub fn reads(&self) -> u64 {
            self.reads.load(std::sync::atomic::Ordering::Relaxed)
        }

        /// Writes attempted so far.
        pub fn writes(&self) -> u64 {
            self.writes.load(std::sync::atomic::Ordering::Relaxed)
        }

        /// Versions asked for so far.
        pub fn versions(&self) -> u64 {
            self.versions.load(std::sync::atomic::Ordering::Relaxed)
        }

        /// From now on every call fails, as on a host in trouble.
        pub fn fail_all(&self, failing: bool) {
            self.failing.store(failing, std::sync::atomic::Ordering::Relaxed);
        }

        /// Bytes of all keys and values held.
        pub fn bytes(&self) -> usize {
            let values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            values.iter().map(|(key, (value, _))| key.len() + value.len()).sum()
        }

        /// Keys ever set.
        pub fn keys(&self) -> Vec<Vec<u8>> {
            let values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            values.keys().cloned().collect()
        }
    }

    impl SharedMap for MemoryMap {
        fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
            self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if self.failing.load(std::sync::atomic::Ordering::Relaxed) {
                return None;
            }
            let values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            values.get(key).filter(|(value, _)| !value.is_empty()).cloned()
        }

        fn version(&self, key: &[u8]) -> Option<Cas> {
            if self.failing.load(std::sync::atomic::Ordering::Relaxed) {
                return None;
            }
            self.versions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            values.get(key).map(|(_, cas)| *cas)
        }

        fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
            self.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if self.failing.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(SetError::Host);
            }
            let mut values = self.values.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut last = self.last_cas.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let (Some(wanted), Some((_, present))) = (cas.filter(|cas| *cas != 0), values.get(key))
                && wanted != *present
            {
                return Err(SetError::CasMismatch);
            }
            *last = last.wrapping_add(1).max(1);
            values.insert(key.to_vec(), (value.to_vec(), *last));
            Ok(())
        }
    }
}
