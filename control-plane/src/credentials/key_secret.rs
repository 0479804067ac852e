//! The secret under which Envoys put credentials into cache keys: one for the whole fleet, made once, kept, and told to Envoys alone.

use crate::kernel::chance;
use crate::storage::secret_file;
use std::fmt;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

const FILE: &str = "key-secret";
/// Size of a secret, bytes.
const SIZE: usize = 32;
/// Envoys take none that is shorter.
const SHORTEST: usize = 16;

/// The fleet's secret. Empty where replicas have not agreed on one yet.
pub(crate) struct KeySecret {
    file: Option<PathBuf>,
    current: watch::Sender<Vec<u8>>,
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

impl KeySecret {
    /// Reads the secret from a folder. Without one a new one is made, except with replicas: they agree on one.
    pub(crate) fn open(folder: Option<&Path>, replicas: bool) -> Self {
        let file = folder.map(|folder| folder.join(FILE));
        let stored = file.as_deref().and_then(read);
        let opened = Self {
            file,
            current: watch::channel(stored.unwrap_or_default()).0,
        };
        if !replicas && opened.current.borrow().is_empty() {
            match by_chance() {
                Some(made) => opened.take(made),
                None => tracing::error!("no source of chance: each Envoy keeps a secret of its own for cache keys"),
            }
        }
        opened
    }

    /// The secret for Envoys, now and when it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Vec<u8>> {
        self.current.subscribe()
    }

    /// What this replica would have all replicas use.
    pub(crate) fn proposed(&self) -> Option<String> {
        let current = self.current.borrow().clone();
        let proposed = if current.is_empty() { by_chance()? } else { current };
        Some(to_hex(&proposed))
    }

    /// What replicas have agreed on.
    pub(crate) fn agreed(&self, text: &str) {
        match from_hex(text) {
            Some(agreed) if *self.current.borrow() == agreed => {}
            Some(agreed) => self.take(agreed),
            None => tracing::error!("what replicas share as the secret of cache keys is none, and is not taken"),
        }
    }

    fn take(&self, secret: Vec<u8>) {
        if let Some(file) = &self.file
            && let Err(error) = secret_file::save(file, &to_hex(&secret))
        {
            tracing::error!(%error, "the secret of cache keys cannot be kept: after a restart what is stored for one identity is fetched anew");
        }
        self.current.send_replace(secret);
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, "the secret of cache keys cannot be read, another one is made");
            return None;
        }
    };
    let read = from_hex(text.trim());
    if read.is_none() {
        tracing::error!("the secret of cache keys is damaged, another one is made");
    }
    read
}

fn by_chance() -> Option<Vec<u8>> {
    chance::bytes::<SIZE>().map(Into::into)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.filter(|bytes| bytes.len() >= SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn now(secret: &KeySecret) -> Vec<u8> {
        secret.follow().borrow().clone()
    }

    #[test]
    fn a_secret_is_made_once_kept_and_nobody_elses_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("new");
        let first = now(&KeySecret::open(Some(&folder), false));
        assert_eq!(first.len(), SIZE);
        assert_eq!(now(&KeySecret::open(Some(&folder), false)), first);
        let mode = std::fs::metadata(folder.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(now(&KeySecret::open(None, false)), now(&KeySecret::open(None, false)));
        std::fs::write(folder.join(FILE), "abc").unwrap();
        let anew = now(&KeySecret::open(Some(&folder), false));
        assert!(anew.len() == SIZE && anew != first);
        assert_eq!(now(&KeySecret::open(Some(&folder), false)), anew);
        assert_eq!(format!("{:?}", KeySecret::open(None, false)), "KeySecret(..)");
    }

    #[test]
    fn replicas_wait_for_what_they_agree_on() {
        let directory = tempfile::tempdir().unwrap();
        let replica = KeySecret::open(Some(directory.path()), true);
        assert!(now(&replica).is_empty());
        let mut received = replica.follow();
        let agreed = KeySecret::open(None, true).proposed().unwrap();
        replica.agreed(&agreed);
        assert!(received.has_changed().unwrap());
        assert_eq!(received.borrow_and_update().len(), SIZE);
        replica.agreed(&agreed);
        assert!(!received.has_changed().unwrap(), "no news");
        for none in ["", "abcd", "zz"] {
            replica.agreed(none);
        }
        assert_eq!(
            replica.proposed(),
            Some(agreed.clone()),
            "what a lost Redis forgot is put back"
        );
        let again = KeySecret::open(Some(directory.path()), true);
        assert_eq!(again.proposed(), Some(agreed));
    }
}
