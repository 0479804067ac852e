//! Keys for values at rest, from a file that is read again when it changes.

use crate::kernel::sync::lock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

/// The file is looked at so often.
const LOOK_EVERY_S: u64 = 1;

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
pub(crate) struct KeyFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: Arc<Keys>,
    modified: Option<SystemTime>,
    looked: Instant,
}

impl KeyFile {
    /// Reads the file.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let keys = read(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("TIER_KEY_FILE {}: {error}", path.display())))?;
        let modified = modified(&path);
        Ok(Self {
            path,
            state: Mutex::new(State {
                keys: Arc::new(keys),
                modified,
                looked: Instant::now(),
            }),
        })
    }

    /// The keys in force. A file that became unreadable leaves the last good ones.
    pub(super) fn keys(&self) -> Arc<Keys> {
        let mut state = lock(&self.state);
        if state.looked.elapsed().as_secs() >= LOOK_EVERY_S {
            state.looked = Instant::now();
            let modified = modified(&self.path);
            if modified != state.modified {
                state.modified = modified;
                match read(&self.path) {
                    Ok(keys) => state.keys = Arc::new(keys),
                    Err(error) => {
                        tracing::warn!(%error, path = %self.path.display(), "keys cannot be read, last good ones stay");
                    }
                }
            }
        }
        Arc::clone(&state.keys)
    }
}

fn modified(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|about| about.modified()).ok()
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
