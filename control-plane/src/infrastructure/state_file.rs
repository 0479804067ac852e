//! The settings and their history on disk: written beside, synced, renamed; the copy before is kept.

use super::document::{self, damaged};
use control_domain::book::{Author, Book, Revision};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io;
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

    /// Writes everything; after a crash at any point either this or the state before is read back.
    pub(crate) fn save(&self, book: &Book, config_map: &BTreeMap<String, String>) -> io::Result<()> {
        let state = Document {
            format: FORMAT,
            epoch: book.epoch().to_owned(),
            revisions: book.revisions().map(keep).collect(),
            config_map: config_map.clone(),
        };
        document::save(&self.path, &state)
    }

    /// The last whole state, with the ConfigMap's keys as then seen.
    pub(crate) fn load(&self) -> Option<(Book, BTreeMap<String, String>)> {
        document::load(&self.path, accept)
    }
}

fn accept(state: Document) -> io::Result<(Book, BTreeMap<String, String>)> {
    if state.format != FORMAT {
        return Err(damaged("another format"));
    }
    let revisions = state.revisions.into_iter().map(unkeep).collect();
    let book = Book::restored(state.epoch, revisions).ok_or_else(|| damaged("revisions out of order"))?;
    Ok((book, state.config_map))
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
