//! The purges that are remembered, here and on disk. What cannot be written down is in force all the same.

use super::journal::PurgeJournal;
use crate::kernel::sync::lock;
use control_domain::purges::{Matched, Purge, PurgeLog};
use std::path::Path;
use std::sync::Mutex;

const FILE: &str = "purges.journal";

/// The log and its journal.
#[derive(Debug)]
pub(super) struct Record {
    log: Mutex<PurgeLog>,
    journal: Option<PurgeJournal>,
    /// Why there is no journal, where there ought to be one.
    unkept: Option<String>,
}

impl Record {
    /// Goes on with the journal in a folder.
    pub(super) fn open(folder: Option<&Path>) -> Self {
        // The folder may not be there yet: the settings make it when they are first written.
        let opened =
            folder.map(|folder| std::fs::create_dir_all(folder).and_then(|()| PurgeJournal::open(folder.join(FILE))));
        let mut unkept = None;
        let (journal, log) = match opened {
            Some(Ok((journal, log))) => (Some(journal), log),
            Some(Err(error)) => {
                tracing::error!(%error, "purges cannot be kept on disk");
                unkept = Some(format!("purges cannot be kept: {error}"));
                (None, PurgeLog::default())
            }
            None => (None, PurgeLog::default()),
        };
        Self {
            log: Mutex::new(log),
            journal,
            unkept,
        }
    }

    /// Why purges are not kept, or some were lost; `None` when all is well.
    pub(super) fn fault(&self) -> Option<String> {
        let journal = || self.journal.as_ref().and_then(PurgeJournal::fault);
        self.unkept.clone().or_else(journal)
    }

    /// Looks at the log. For computations only.
    pub(super) fn read<T>(&self, look: impl FnOnce(&PurgeLog) -> T) -> T {
        look(&lock(&self.log))
    }

    /// Takes a purge in, without writing it down.
    ///
    /// # Errors
    /// There was one with the same id or key.
    pub(super) fn accept(&self, purge: Purge) -> Result<(), Box<Purge>> {
        lock(&self.log).accept(purge)
    }

    /// Writes a purge down that was taken in.
    pub(super) fn keep(&self, purge: &Purge) {
        let written = self.journal.as_ref().map_or(Ok(()), |journal| journal.accepted(purge));
        if let Err(error) = written {
            tracing::error!(%error, "a purge cannot be kept on disk: an Envoy that returns after a restart would not be told of it");
        }
    }

    /// Takes a receipt of a round in, without writing it down; false when the purge was reopened since.
    pub(super) fn applied(&self, round: u32, id: &str, envoy: &str, at: u64, matched: Option<Matched>) -> bool {
        lock(&self.log).applied_in(round, id, envoy, at, matched)
    }

    /// Stores a receipt that was accepted.
    pub(super) fn save_receipt(&self, id: &str, envoy: &str, at: u64, matched: Option<Matched>) {
        let Some(journal) = &self.journal else { return };
        let mut written = journal.applied(id, envoy, at, matched);
        if journal.is_long() {
            let log = lock(&self.log).clone();
            written = written.and_then(|()| journal.rewrite(&log));
        }
        if let Err(error) = written {
            tracing::warn!(%error, "a receipt cannot be kept on disk");
        }
    }

    /// What somebody else knows of a purge that is known here; not written down.
    pub(super) fn learn(&self, theirs: &Purge) {
        lock(&self.log).learn(theirs);
    }

    /// The shared tier has recorded a purge before anybody was told of it.
    pub(super) fn recorded(&self, id: &str) {
        let recorded = {
            let mut log = lock(&self.log);
            log.recorded(id);
            log.get(id).cloned()
        };
        let (Some(journal), Some(purge)) = (&self.journal, recorded) else {
            return;
        };
        if let Err(error) = journal.recorded(&purge) {
            tracing::warn!(%error, "it cannot be kept on disk that the shared tier has recorded a purge");
        }
    }

    /// All Envoys have a purge to do once more; the round that begins. Not written down.
    pub(super) fn reopen(&self, id: &str) -> u32 {
        lock(&self.log).reopen(id)
    }

    /// Another replica has begun a round; not written down.
    pub(super) fn reopen_to(&self, id: &str, round: u32) {
        lock(&self.log).reopen_to(id, round);
    }

    /// Writes down that they have.
    pub(super) fn save_reopened(&self, id: &str) {
        let written = self.journal.as_ref().map_or(Ok(()), |journal| journal.reopened(id));
        if let Err(error) = written {
            tracing::error!(%error, "it cannot be kept on disk that a purge has to be done once more");
        }
    }

    /// Everything up to this time is forgotten.
    pub(super) fn forget_before(&self, at: u64) {
        lock(&self.log).forget_before(at);
    }
}
