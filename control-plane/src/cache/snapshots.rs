//! Snapshots that are taken back: one at a time, each on disk while it is read.

use super::import::Restore;
use super::spool::Spool;
use crate::fleet::FleetService;
use crate::purges::PurgeService;
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Snapshots restored at a time.
pub(crate) const RESTORES: usize = 1;

/// The permission to restore; released when dropped.
pub(crate) type Turn<'s> = SemaphorePermit<'s>;

/// Where snapshots come back.
#[derive(Debug)]
pub(crate) struct SnapshotService {
    /// Where their bodies wait, which are too large for memory.
    pub(crate) spool: Spool,
    turn: Semaphore,
    fleet: Arc<FleetService>,
    purges: Arc<PurgeService>,
}

impl SnapshotService {
    pub(crate) fn new(spool: Spool, fleet: Arc<FleetService>, purges: Arc<PurgeService>) -> Self {
        Self {
            spool,
            turn: Semaphore::new(RESTORES),
            fleet,
            purges,
        }
    }

    /// The permission to restore; `None` while another snapshot is being restored.
    pub(crate) fn turn(&self) -> Option<Turn<'_>> {
        self.turn.try_acquire().ok()
    }

    /// Begins to restore into some Envoys.
    pub(crate) fn begin(&self, envoys: Vec<String>, dry_run: bool) -> Restore {
        Restore::new(Arc::clone(&self.fleet), Arc::clone(&self.purges), envoys, dry_run)
    }
}
