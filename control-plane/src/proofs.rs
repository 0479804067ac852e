//! What an Envoy process is given in its Welcome and shows in its next Hello: so nobody takes the place of one that is connected.

use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// File of the key, beside the settings: after a restart the Envoys' proofs are good still.
const FILE: &str = "envoys.key";
const BYTES: usize = 32;

/// Makes proofs out of the names of Envoy processes.
#[derive(Debug)]
pub(crate) struct Proofs {
    key: RwLock<Key>,
}

impl Proofs {
    /// With the key that is kept in `folder`, or a new one.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        let file = folder.map(|folder| folder.join(FILE));
        let kept = file.as_deref().and_then(|file| std::fs::read(file).ok());
        if let Some(kept) = kept.filter(|bytes| bytes.len() == BYTES) {
            return Self::with(&kept);
        }
        let mut bytes = [0; BYTES];
        if SystemRandom::new().fill(&mut bytes).is_err() {
            tracing::error!("no source of chance: Envoys cannot prove who they are");
        }
        if let Some(Err(error)) = file.map(|file| write(&file, &bytes)) {
            tracing::warn!(%error, "the key of Envoys' proofs cannot be kept: after a restart they get new ones");
        }
        Self::with(&bytes)
    }

    fn with(secret: &[u8]) -> Self {
        Self {
            key: RwLock::new(Key::new(HMAC_SHA256, secret)),
        }
    }

    /// From now on with a key that other replicas have as well: an Envoy may come from any of them.
    pub(crate) fn share(&self, secret: &str) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Key::new(HMAC_SHA256, secret.as_bytes());
    }

    fn key(&self) -> RwLockReadGuard<'_, Key> {
        self.key.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the Envoy process of this name is to show.
    pub(crate) fn of(&self, instance: &str) -> Vec<u8> {
        sign(&self.key(), instance.as_bytes()).as_ref().to_vec()
    }

    /// Whether it has shown that.
    pub(crate) fn holds(&self, instance: &str, proof: &[u8]) -> bool {
        verify(&self.key(), instance.as_bytes(), proof).is_ok()
    }
}

fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_process_and_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let before = Proofs::open(Some(folder.path()));
        let proof = before.of("a");
        let after = Proofs::open(Some(folder.path()));
        assert!(after.holds("a", &proof));
        assert!(!after.holds("b", &proof) && !after.holds("a", b"") && !after.holds("a", &proof[1..]));
        assert!(!Proofs::open(None).holds("a", &proof));
    }
}
