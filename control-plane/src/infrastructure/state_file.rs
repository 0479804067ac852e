//! The settings and their history on disk: written beside, synced, renamed; the copy before is kept.

use control_domain::book::{Author, Book, Revision};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "settings.json";
const FORMAT: u32 = 1;

/// The file in which a control plane keeps its settings.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    epoch: String,
    revisions: Vec<Kept>,
    #[serde(default)]
    config_map: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    number: u64,
    at_ms: u64,
    who: String,
    door: String,
    reason: String,
    document: Value,
}

/// The first line of the file is the checksum of the rest, so that a torn file is told from a whole one.
fn checksum(text: &str) -> String {
    // FNV-1a: guards against a torn write, not against an attacker who can write the file.
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{sum:016x}")
}

impl StateFile {
    /// Uses a directory, created if need be.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)
            .map_err(|error| io::Error::new(error.kind(), format!("STATE_DIR {}: {error}", directory.display())))?;
        Ok(Self {
            path: directory.join(NAME),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn previous(&self) -> PathBuf {
        self.path.with_extension("previous.json")
    }

    /// Writes everything; after a crash at any point either this or the state before is read back.
    pub(crate) fn save(&self, book: &Book, config_map: &BTreeMap<String, String>) -> io::Result<()> {
        let document = Document {
            format: FORMAT,
            epoch: book.epoch().to_owned(),
            revisions: book.revisions().map(keep).collect(),
            config_map: config_map.clone(),
        };
        let text = serde_json::to_string(&document)?;
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        writeln!(file, "{}", checksum(&text))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if self.path.exists() {
            fs::rename(&self.path, self.previous())?;
        }
        fs::rename(&temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// The last whole state, with the ConfigMap's keys as then seen.
    pub(crate) fn load(&self) -> Option<(Book, BTreeMap<String, String>)> {
        [self.path.clone(), self.previous()]
            .iter()
            .find_map(|path| match read(path) {
                Ok(state) => state,
                Err(error) => {
                    if error.kind() != io::ErrorKind::NotFound {
                        tracing::warn!(path = %path.display(), %error, "state cannot be read, trying the one before");
                    }
                    None
                }
            })
    }
}

fn read(path: &Path) -> io::Result<Option<(Book, BTreeMap<String, String>)>> {
    let whole = fs::read_to_string(path)?;
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let (sum, text) = whole.split_once('\n').ok_or_else(|| damaged("no checksum"))?;
    if sum != checksum(text) {
        return Err(damaged("checksum differs"));
    }
    let document: Document = serde_json::from_str(text)?;
    if document.format != FORMAT {
        return Err(damaged("another format"));
    }
    let revisions = document.revisions.into_iter().map(unkeep).collect();
    let book = Book::restored(document.epoch, revisions).ok_or_else(|| damaged("revisions out of order"))?;
    Ok(Some((book, document.config_map)))
}

fn keep(revision: &Revision) -> Kept {
    Kept {
        number: revision.number,
        at_ms: revision.at_ms,
        who: revision.author.who.clone(),
        door: revision.author.door.clone(),
        reason: revision.author.reason.clone(),
        document: revision.document.clone(),
    }
}

fn unkeep(kept: Kept) -> Revision {
    Revision {
        number: kept.number,
        at_ms: kept.at_ms,
        author: Author {
            who: kept.who,
            door: kept.door,
            reason: kept.reason,
        },
        document: kept.document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_domain::change::Change;
    use optimizer_proto::settings::Settings;
    use serde_json::json;

    fn book_at(revision: u64) -> Book {
        let mut book = Book::new("e".to_owned(), &Settings::default(), 0);
        for size in 2..=revision {
            let change = Change::Merge(json!({ "cache_size": size }));
            let accepted = book.propose(&change, None, Author::default(), 1).unwrap();
            assert!(book.accept(accepted.revision));
        }
        book
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::open(&directory.path().join("new/deep")).unwrap();
        assert!(file.load().is_none());
        let seen = BTreeMap::from([("cache_size".to_owned(), "50".to_owned())]);
        file.save(&book_at(3), &seen).unwrap();
        assert_eq!(file.load(), Some((book_at(3), seen)));
    }

    #[test]
    fn a_file_torn_at_any_byte_gives_the_state_before() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::open(directory.path()).unwrap();
        file.save(&book_at(2), &BTreeMap::new()).unwrap();
        file.save(&book_at(3), &BTreeMap::new()).unwrap();
        let whole = fs::read(file.path()).unwrap();
        for cut in (0..whole.len()).step_by(97) {
            fs::write(file.path(), &whole[..cut]).unwrap();
            assert_eq!(file.load().unwrap().0.present().number, 2, "cut at {cut}");
        }
        fs::remove_file(file.path()).unwrap();
        assert_eq!(file.load().unwrap().0.present().number, 2);
    }
}
