//! Purges on disk: a journal that grows by a line per event, so that a receipt of a thousand Envoys costs a thousand short
//! appends and not a thousand rewrites of everything. Written anew when it has grown long, and at every start.

use crate::kernel::clock::now_ms;
use crate::kernel::sync::lock;
use control_domain::Millis;
use control_domain::cache::snapshot::Checksum;
use control_domain::purges::{Matched, Purge, PurgeLog};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Lines after which it is written anew.
const LONG: usize = 50_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event<'e> {
    /// Everything up to then is not remembered any more.
    Forgotten(Millis),
    Accepted(std::borrow::Cow<'e, Purge>),
    Applied {
        id: String,
        envoy: String,
        at: Millis,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matched: Option<Matched>,
    },
    /// All Envoys have it to do once more.
    Reopened {
        id: String,
    },
}

/// The journal.
#[derive(Debug)]
pub(crate) struct PurgeJournal {
    path: PathBuf,
    open: Mutex<Open>,
    /// Lines were lost that were whole once.
    damage: Option<String>,
    /// Why the last line could not be written.
    fault: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    lines: usize,
}

impl PurgeJournal {
    /// Reads what is there and goes on behind it.
    pub(crate) fn open(path: PathBuf) -> io::Result<(Self, PurgeLog)> {
        let (mut log, lost) = read(&path);
        let damage = (lost > 0).then(|| {
            // Nobody knows which: whoever may have missed one purges everything when it returns.
            log.forget_before(now_ms());
            format!(
                "{lost} lines of the purge journal were damaged at the start: Envoys that return are purged as a whole"
            )
        });
        let journal = Self {
            open: Mutex::new(rewritten(&path, &log)?),
            path,
            damage,
            fault: Mutex::default(),
        };
        Ok((journal, log))
    }

    /// Why purges are not kept, or some were lost.
    pub(crate) fn fault(&self) -> Option<String> {
        let fault = lock(&self.fault).clone();
        fault.or_else(|| self.damage.clone())
    }

    /// Writes a purge down for good: it is on the disk when this returns.
    pub(crate) fn accepted(&self, purge: &Purge) -> io::Result<()> {
        self.append(&Event::Accepted(std::borrow::Cow::Borrowed(purge)), true)
    }

    /// Writes down once more a purge that the shared tier has recorded. Where a crash takes that away, it is recorded once more.
    pub(crate) fn recorded(&self, purge: &Purge) -> io::Result<()> {
        self.append(&Event::Accepted(std::borrow::Cow::Borrowed(purge)), false)
    }

    /// Writes a receipt down. One that a crash takes away costs an Envoy a purge that it has had.
    pub(crate) fn applied(&self, id: &str, envoy: &str, at: Millis, matched: Option<Matched>) -> io::Result<()> {
        let event = Event::Applied {
            id: id.to_owned(),
            envoy: envoy.to_owned(),
            at,
            matched,
        };
        self.append(&event, false)
    }

    /// Writes down that all receipts of a purge are void.
    pub(crate) fn reopened(&self, id: &str) -> io::Result<()> {
        self.append(&Event::Reopened { id: id.to_owned() }, true)
    }

    /// Whether it should be written anew.
    pub(crate) fn is_long(&self) -> bool {
        lock(&self.open).lines > LONG
    }

    /// Writes it anew.
    pub(crate) fn rewrite(&self, log: &PurgeLog) -> io::Result<()> {
        let mut open = lock(&self.open);
        *open = rewritten(&self.path, log)?;
        Ok(())
    }

    fn append(&self, event: &Event<'_>, sync: bool) -> io::Result<()> {
        let line = line_of(event)?;
        let mut open = lock(&self.open);
        open.lines += 1;
        let written = open.file.write_all(line.as_bytes());
        let written = written.and_then(|()| if sync { open.file.sync_data() } else { Ok(()) });
        let fault = written
            .as_ref()
            .err()
            .map(|error| format!("purges cannot be kept: {error}"));
        *lock(&self.fault) = fault;
        written
    }
}

/// Each line carries its checksum, so that a torn one is told from a whole one.
fn line_of(event: &Event<'_>) -> io::Result<String> {
    let text = serde_json::to_string(event)?;
    Ok(format!("{} {text}\n", Checksum::of(text.as_bytes()).text()))
}

fn rewritten(path: &Path, log: &PurgeLog) -> io::Result<Open> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    let mut text = line_of(&Event::Forgotten(log.forgotten_ms()))?;
    let mut lines = 1;
    for purge in log.oldest_first() {
        text.push_str(&line_of(&Event::Accepted(std::borrow::Cow::Borrowed(purge)))?);
        lines += 1;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(Open { file, lines })
}

/// What is there, and how many lines are lost, a torn last one left out.
fn read(path: &Path) -> (PurgeLog, usize) {
    let mut log = PurgeLog::default();
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::error!(path = %path.display(), %error, "purges cannot be read");
            }
            return (log, 0);
        }
    };
    let mut torn = 0_usize;
    let ended = text.is_empty() || text.ends_with('\n');
    let lines = text.lines().count();
    for (number, line) in text.lines().enumerate() {
        let sound = line
            .split_once(' ')
            .filter(|(sum, text)| *sum == Checksum::of(text.as_bytes()).text());
        match sound.and_then(|(_, text)| serde_json::from_str::<Event<'_>>(text).ok()) {
            Some(Event::Forgotten(at)) => log.forget_before(at),
            // The same one twice is the one before, of which more is known.
            Some(Event::Accepted(purge)) => {
                if log.accept(Purge::clone(&purge)).is_err() {
                    log.learn(&purge);
                }
            }
            Some(Event::Applied { id, envoy, at, matched }) => log.applied(&id, &envoy, at, matched),
            Some(Event::Reopened { id }) => drop(log.reopen(&id)),
            // A crash leaves it so.
            None if !ended && number + 1 == lines && lines > 1 => {}
            None => torn += 1,
        }
    }
    if torn > 0 {
        tracing::warn!(path = %path.display(), torn, "lines of the purge journal cannot be read");
    }
    (log, torn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_domain::purges::Target;
    use std::collections::BTreeMap;

    fn purge(id: &str, at: Millis) -> Purge {
        Purge {
            id: id.to_owned(),
            at,
            by: "me".to_owned(),
            reason: String::new(),
            targets: vec![Target::All],
            soft: false,
            idempotency_key: Some(format!("key-{id}")),
            applied: BTreeMap::new(),
            awaited: std::collections::BTreeSet::new(),
            unrecorded: false,
            round: 0,
            matched: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_written_is_read_back_whatever_byte_it_was_torn_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges.journal");
        let (journal, log) = PurgeJournal::open(path.clone()).unwrap();
        assert_eq!(log, PurgeLog::default());
        journal.accepted(&purge("1", 5)).unwrap();
        journal.applied("1", "envoy", 6, None).unwrap();
        let counted = Matched { at_least: 3, all: true };
        journal.applied("1", "envoy", 8, Some(counted)).unwrap();
        journal.accepted(&purge("2", 7)).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let (_, log) = PurgeJournal::open(path.clone()).unwrap();
        assert_eq!(log.all().count(), 2);
        assert_eq!(log.get("1").unwrap().applied, BTreeMap::from([("envoy".to_owned(), 6)]));
        assert_eq!(log.get("1").unwrap().matched().known(), Some(3));
        let (_, again) = PurgeJournal::open(path.clone()).unwrap();
        assert_eq!(again, log, "written anew it says the same");
        for cut in (0..whole.len()).step_by(3) {
            fs::write(&path, &whole[..cut]).unwrap();
            let (_, log) = PurgeJournal::open(path.clone()).unwrap();
            assert!(log.all().count() <= 2);
        }
        fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        assert_eq!(
            PurgeJournal::open(path).unwrap().1.all().count(),
            1,
            "only the torn line is lost"
        );
    }

    #[test]
    fn whether_the_shared_tier_has_recorded_a_purge_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges.journal");
        let (journal, _) = PurgeJournal::open(path.clone()).unwrap();
        for id in ["1", "2", "3"] {
            let unrecorded = Purge {
                unrecorded: true,
                ..purge(id, 5)
            };
            journal.accepted(&unrecorded).unwrap();
        }
        journal.recorded(&purge("2", 5)).unwrap();
        journal.reopened("3").unwrap();
        drop(journal);
        for _ in 0..2 {
            let (_, log) = PurgeJournal::open(path.clone()).unwrap();
            let unrecorded: Vec<&str> = log.unrecorded().map(|purge| purge.id.as_str()).collect();
            assert_eq!(unrecorded, ["1"]);
            assert_eq!(log.get("3").unwrap().round, 1);
        }
    }
}
