//! What an Envoy process is given in its Welcome and shows in its next Hello: so nobody takes the place of one that has been here.

use crate::kernel::chance;
use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// File of the key, beside the settings: after a restart the Envoys' proofs are good still.
const FILE: &str = "envoys.key";
const BYTES: usize = 32;

/// Keys that proofs are good under: the newest, and those before it.
const KEYS: usize = 4;

/// Makes proofs out of the names of Envoy processes.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// The newest last.
    keys: RwLock<Vec<Key>>,
    /// The key is older than this process: it has given proofs to Envoys that are in the journal.
    is_persistent: bool,
    changed: watch::Sender<()>,
}

impl Proofs {
    /// With the key that is stored in `folder`, or a new one.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        let file = folder.map(|folder| folder.join(FILE));
        let stored = file.as_deref().and_then(|file| std::fs::read(file).ok());
        if let Some(stored) = stored.filter(|bytes| bytes.len() == BYTES) {
            return Self::with(&stored, true);
        }
        let bytes = chance::bytes::<BYTES>().unwrap_or_else(|| {
            tracing::error!("no source of chance: Envoys cannot prove who they are");
            [0; BYTES]
        });
        if let Some(Err(error)) = file.map(|file| write(&file, &bytes)) {
            tracing::warn!(%error, "the key of Envoys' proofs cannot be kept: after a restart they get new ones");
        }
        Self::with(&bytes, false)
    }

    fn with(secret: &[u8], is_persistent: bool) -> Self {
        Self {
            keys: RwLock::new(vec![Key::new(HMAC_SHA256, secret)]),
            is_persistent,
            changed: watch::channel(()).0,
        }
    }

    /// From now on with a key that other replicas have as well: an Envoy may come from any of them. Proofs that were given here before
    /// are good still.
    pub(crate) fn share(&self, secret: &str) {
        let key = Key::new(HMAC_SHA256, secret.as_bytes());
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let probe = |key: &Key| sign(key, b"").as_ref().to_vec();
        if keys.last().is_some_and(|newest| probe(newest) == probe(&key)) {
            return;
        }
        if keys.len() >= KEYS {
            keys.remove(0);
        }
        keys.push(key);
        drop(keys);
        self.changed.send_replace(());
    }

    /// Told when Envoys are to be given new proofs.
    pub(crate) fn follow(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether Envoys that an earlier process of this control plane has met can show a proof that is good here.
    pub(crate) fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    fn keys(&self) -> RwLockReadGuard<'_, Vec<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the Envoy process of this name is to show.
    pub(crate) fn of(&self, instance: &str) -> Vec<u8> {
        let keys = self.keys();
        let newest = keys.last();
        newest.map_or_else(Vec::new, |key| sign(key, instance.as_bytes()).as_ref().to_vec())
    }

    /// Whether it has shown that.
    pub(crate) fn holds(&self, instance: &str, proof: &[u8]) -> bool {
        let keys = self.keys();
        keys.iter().any(|key| verify(key, instance.as_bytes(), proof).is_ok())
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
        assert!(after.is_persistent() && !before.is_persistent());
    }

    #[test]
    fn a_key_that_replicas_agree_on_leaves_proofs_good_that_were_given_before() {
        let (one, other) = (Proofs::open(None), Proofs::open(None));
        let (own, mut changed) = (one.of("a"), one.follow());
        one.share("agreed");
        other.share("agreed");
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        assert!(one.holds("a", &own) && !other.holds("a", &own));
        assert!(other.holds("a", &one.of("a")));
        one.share("agreed");
        assert!(!changed.has_changed().unwrap(), "the same once more");
        (0..KEYS).for_each(|number| one.share(&number.to_string()));
        assert!(!one.holds("a", &own));
    }
}
