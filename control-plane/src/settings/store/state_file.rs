//! The settings and their history on disk: a whole copy, written beside, synced, renamed, the copy before kept; and a journal of
//! what came after it, a synced line per revision, so that a change costs the same whatever the history.

use crate::kernel::sync::lock;
use crate::storage::document::{self, damaged};
use crate::storage::journal::Journal;
use control_domain::settings::history::{Author, Revision, SettingsHistory};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const NAME: &str = "settings.json";
const JOURNAL: &str = "settings.journal";
const FORMAT: u32 = 1;
/// Lines after which a whole copy is made.
const JOURNAL_LINES: usize = 100;

/// The files in which a control plane keeps its settings.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    journal: Journal,
    /// What the files hold; `None` when that is not known, and a whole copy is due.
    written: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    epoch: String,
    revision: u64,
    seen: BTreeMap<String, String>,
    lines: usize,
}

/// What was read back.
#[derive(Debug, PartialEq)]
pub(crate) struct Restored {
    pub(crate) history: SettingsHistory,
    /// The ConfigMap's keys as then seen.
    pub(crate) seen: BTreeMap<String, String>,
    /// The newest copy was damaged: revisions may be missing which Envoys already run on.
    pub(crate) older: bool,
    /// The journal was damaged beyond a torn last line.
    pub(crate) damaged: bool,
}

#[derive(Serialize, Deserialize)]
struct Line {
    epoch: String,
    revision: Option<RevisionRecord>,
    config_map: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    epoch: String,
    revisions: Vec<RevisionRecord>,
    #[serde(default)]
    config_map: BTreeMap<String, String>,
}

/// A revision as it is written down.
#[derive(Serialize, Deserialize)]
pub(crate) struct RevisionRecord {
    number: u64,
    at_ms: u64,
    who: String,
    door: String,
    reason: String,
    document: Value,
}

impl StateFile {
    /// Uses a directory, which is created when it is first written to.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(NAME),
            journal: Journal::new(directory.join(JOURNAL)),
            written: Mutex::new(None),
        }
    }

    /// Tells the log, and what is to be told to operators.
    pub(crate) fn fault(&self, error: &io::Error) -> String {
        tracing::error!(%error, path = %self.path.display(), "settings cannot be kept on disk");
        format!("settings are in force but cannot be kept: {error}")
    }

    /// Writes what is new; after a crash at any point either this or the state before is read back.
    pub(crate) fn save(&self, history: &SettingsHistory, seen: &BTreeMap<String, String>) -> io::Result<()> {
        let mut written = lock(&self.written);
        self.save_into(&mut written, history, seen)
    }

    /// As [`StateFile::save`], of what there is when it is this one's turn: of two at a time the later keeps the newer.
    pub(crate) fn save_newest(
        &self,
        newest: impl FnOnce() -> (SettingsHistory, BTreeMap<String, String>),
    ) -> io::Result<()> {
        let mut written = lock(&self.written);
        let (history, seen) = newest();
        self.save_into(&mut written, &history, &seen)
    }

    fn save_into(
        &self,
        written: &mut Option<Held>,
        history: &SettingsHistory,
        seen: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        // Whatever fails below leaves the files in doubt: the next time everything is written.
        let held = written
            .take()
            .filter(|held| held.epoch == history.epoch() && held.lines < JOURNAL_LINES && self.path.exists());
        *written = Some(match held {
            Some(held) => self.append(held, history, seen)?,
            None => self.save_whole(history, seen)?,
        });
        Ok(())
    }

    fn append(&self, held: Held, history: &SettingsHistory, seen: &BTreeMap<String, String>) -> io::Result<Held> {
        let mut config_map = (*seen != held.seen).then(|| seen.clone());
        let mut lines = Vec::new();
        let mut line = |revision: Option<RevisionRecord>, config_map: Option<BTreeMap<String, String>>| {
            let epoch = history.epoch().to_owned();
            serde_json::to_string(&Line {
                epoch,
                revision,
                config_map,
            })
            .map(|text| lines.push(text))
        };
        for revision in history.revisions().filter(|revision| revision.number > held.revision) {
            line(Some(to_record(revision)), config_map.take())?;
        }
        if config_map.is_some() {
            line(None, config_map)?;
        }
        self.journal.append(&lines)?;
        Ok(Held {
            epoch: held.epoch,
            revision: history.present().number,
            seen: seen.clone(),
            lines: held.lines + lines.len(),
        })
    }

    fn save_whole(&self, history: &SettingsHistory, seen: &BTreeMap<String, String>) -> io::Result<Held> {
        let state = Document {
            format: FORMAT,
            epoch: history.epoch().to_owned(),
            revisions: history.revisions().map(to_record).collect(),
            config_map: seen.clone(),
        };
        document::save(&self.path, &state)?;
        // A crash before this leaves lines that the copy already has; they are passed over.
        self.journal.clear()?;
        Ok(Held {
            epoch: history.epoch().to_owned(),
            revision: history.present().number,
            seen: seen.clone(),
            lines: 0,
        })
    }

    /// The last whole state.
    pub(crate) fn load(&self) -> Option<Restored> {
        let whole = document::load_with_origin(&self.path, accept)?;
        let older = whole.older;
        let (mut history, mut seen) = whole.value;
        let mut revisions: Vec<Revision> = history.revisions().cloned().collect();
        let (lines, lost) = self.journal.read();
        if lost > 0 {
            tracing::warn!(path = %self.path.with_file_name(JOURNAL).display(), lost, "the settings journal is damaged: revisions may be missing");
        }
        for line in lines.iter().filter_map(|text| serde_json::from_str::<Line>(text).ok()) {
            if line.epoch != history.epoch() {
                continue;
            }
            if let Some(keys) = line.config_map {
                seen = keys;
            }
            revisions.extend(
                line.revision
                    .map(from_record)
                    .filter(|new| new.number > history.present().number),
            );
            history = SettingsHistory::restored(line.epoch, revisions.clone())?;
        }
        Some(Restored {
            history,
            seen,
            older: older || lost > 0,
            damaged: lost > 0,
        })
    }
}

fn accept(state: Document) -> io::Result<(SettingsHistory, BTreeMap<String, String>)> {
    if state.format != FORMAT {
        return Err(damaged("another format"));
    }
    let revisions = state.revisions.into_iter().map(from_record).collect();
    let history = SettingsHistory::restored(state.epoch, revisions).ok_or_else(|| damaged("revisions out of order"))?;
    Ok((history, state.config_map))
}

pub(crate) fn to_record(revision: &Revision) -> RevisionRecord {
    RevisionRecord {
        number: revision.number,
        at_ms: revision.at_ms,
        who: revision.author.who.clone(),
        door: revision.author.source.clone(),
        reason: revision.author.reason.clone(),
        document: revision.document.clone(),
    }
}

pub(crate) fn from_record(record: RevisionRecord) -> Revision {
    Revision {
        number: record.number,
        at_ms: record.at_ms,
        author: Author {
            who: record.who,
            source: record.door,
            reason: record.reason,
        },
        document: record.document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_domain::settings::change::Change;
    use optimizer_proto::settings::Settings;
    use serde_json::json;
    use std::fs;

    fn book_at(revision: u64) -> SettingsHistory {
        let mut history = SettingsHistory::new("e".to_owned(), &Settings::default(), 0);
        for size in 2..=revision {
            let change = Change::Merge(json!({ "cache_size": size }));
            let accepted = history.propose(&change, None, Author::default(), 1).unwrap();
            assert!(history.accept(accepted.revision));
        }
        history
    }

    fn seen(size: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("cache_size".to_owned(), size.to_owned())])
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("new/deep");
        let file = StateFile::new(&deep);
        assert!(file.load().is_none());
        for revision in 1..250 {
            file.save(&book_at(revision), &seen(&revision.to_string())).unwrap();
        }
        let restored = StateFile::new(&deep).load().unwrap();
        assert_eq!(
            (restored.history, restored.seen, restored.older),
            (book_at(249), seen("249"), false)
        );
        file.save(&book_at(249), &seen("only this")).unwrap();
        assert_eq!(StateFile::new(&deep).load().unwrap().seen, seen("only this"));
    }

    #[test]
    fn a_journal_torn_at_any_byte_loses_the_last_line_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path());
        for revision in 1..=3 {
            file.save(&book_at(revision), &BTreeMap::new()).unwrap();
        }
        let journal = directory.path().join(JOURNAL);
        let whole = fs::read(&journal).unwrap();
        let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in (0..whole.len()).step_by(41) {
            fs::write(&journal, &whole[..cut]).unwrap();
            let expected = if cut < first_line { 1 } else { 2 };
            assert_eq!(file.load().unwrap().history.present().number, expected, "cut at {cut}");
        }
        // Whoever goes on after a crash writes a whole copy first: nothing follows a torn line.
        let again = StateFile::new(directory.path());
        again.save(&book_at(2), &BTreeMap::new()).unwrap();
        again.save(&book_at(3), &BTreeMap::new()).unwrap();
        assert_eq!(file.load().unwrap().history.present().number, 3);
    }

    #[test]
    fn a_copy_torn_at_any_byte_gives_the_one_before_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        StateFile::new(directory.path())
            .save(&book_at(2), &BTreeMap::new())
            .unwrap();
        let file = StateFile::new(directory.path());
        file.save(&book_at(3), &BTreeMap::new()).unwrap();
        let whole = fs::read(&file.path).unwrap();
        for cut in (0..whole.len()).step_by(97) {
            fs::write(&file.path, &whole[..cut]).unwrap();
            let restored = file.load().unwrap();
            assert_eq!(
                (restored.history.present().number, restored.older),
                (2, true),
                "cut at {cut}"
            );
        }
        fs::remove_file(&file.path).unwrap();
        assert_eq!(file.load().unwrap().history.present().number, 2);
    }

    #[test]
    fn a_full_disk_is_told_and_made_up_for_when_there_is_room_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path());
        file.save(&book_at(2), &BTreeMap::new()).unwrap();
        let full = ["settings.journal", "settings.new"].map(|name| directory.path().join(name));
        for path in &full {
            // Gone already when there was nothing to write.
            let _ = fs::remove_file(path);
            std::os::unix::fs::symlink("/dev/full", path).unwrap();
        }
        for _ in 0..3 {
            let error = file.save(&book_at(3), &BTreeMap::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        }
        full.iter().for_each(|path| fs::remove_file(path).unwrap());
        assert_eq!(file.load().unwrap().history.present().number, 2);
        file.save(&book_at(4), &BTreeMap::new()).unwrap();
        assert_eq!(file.load().unwrap().history.present().number, 4);
        fs::remove_dir_all(directory.path()).unwrap();
        file.save(&book_at(5), &BTreeMap::new()).unwrap();
        assert_eq!(
            file.load().unwrap().history.present().number,
            5,
            "a lost directory is made anew"
        );
    }
}
