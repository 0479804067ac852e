//! Keys for values at rest, from a file that is read again when it changes.

use crate::kernel::watched_file::WatchedFile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// All keys: the first seals, every one opens.
#[derive(Clone, Default)]
pub(super) struct Keys {
    pub(super) keys: Vec<(u32, XChaCha20Poly1305)>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

/// A file of keys, one per line: `id:base64 of 32 bytes`. To rotate, put the new one first and keep the old one for a day.
#[derive(Debug)]
pub(crate) struct KeyFile(WatchedFile<Keys>);

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn open(path: PathBuf) -> Result<Self, String> {
        let file = path.clone();
        let watched = WatchedFile::open("keys", vec![path.clone()], move || {
            read(&file).map_err(|error| error.to_string())
        });
        watched
            .map(Self)
            .map_err(|error| format!("TIER_KEY_FILE {}: {error}", path.display()))
    }

    /// The keys in force. A file that became unreadable leaves the last good ones.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.0.present()
    }
}

fn read(path: &PathBuf) -> io::Result<Keys> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim);
    let keys: Option<Vec<_>> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(parse)
        .collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(Keys { keys }),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "every line must be a number, a colon and 32 bytes in base64",
        )),
    }
}

fn parse(line: &str) -> Option<(u32, XChaCha20Poly1305)> {
    let (id, key) = line.split_once(':')?;
    let key = STANDARD.decode(key.trim()).ok()?;
    Some((id.trim().parse().ok()?, XChaCha20Poly1305::new_from_slice(&key).ok()?))
}
