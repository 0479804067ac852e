//! A JSON document on disk that survives a crash at any byte: written beside, synced, renamed; the copy before stays.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The first line of the file is the checksum of the rest, so that a torn file is told from a whole one.
pub(crate) fn checksum(text: &str) -> String {
    // Guards against a torn write, not against an attacker who can write the file.
    control_domain::cache::snapshot::Checksum::of(text.as_bytes()).text()
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("previous.json")
}

/// Writes a document; after a crash at any point either this or the one before is read back.
pub(crate) fn save(path: &Path, document: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(document)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{}", checksum(&text))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if path.exists() {
        fs::rename(path, previous(path))?;
    }
    fs::rename(&temporary, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// A document read back.
#[derive(Debug)]
pub(crate) struct Loaded<T> {
    pub(crate) value: T,
    /// The newest copy could not be read: this is the one before.
    pub(crate) older: bool,
}

/// The last whole document that `accept` finds sound.
pub(crate) fn load<D: DeserializeOwned, T>(path: &Path, accept: impl Fn(D) -> io::Result<T>) -> Option<T> {
    load_with_origin(path, accept).map(|loaded| loaded.value)
}

/// As [`load`], saying which copy it is.
pub(crate) fn load_with_origin<D: DeserializeOwned, T>(
    path: &Path,
    accept: impl Fn(D) -> io::Result<T>,
) -> Option<Loaded<T>> {
    [(path.to_owned(), false), (previous(path), true)]
        .iter()
        .find_map(|(path, older)| match read(path).and_then(&accept) {
            Ok(value) => Some(Loaded { value, older: *older }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "state cannot be read, trying the one before");
                }
                None
            }
        })
}

/// Something is wrong with a document.
pub(crate) fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn read<D: DeserializeOwned>(path: &Path) -> io::Result<D> {
    let whole = fs::read_to_string(path)?;
    let (sum, text) = whole.split_once('\n').ok_or_else(|| damaged("no checksum"))?;
    if sum != checksum(text) {
        return Err(damaged("checksum differs"));
    }
    Ok(serde_json::from_str(text)?)
}
