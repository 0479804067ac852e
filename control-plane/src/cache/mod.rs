//! Work on the stored responses of the Envoys: out, in, from one to another, and counted.

mod export;
mod import;
mod inventory;
mod listing;
pub(crate) mod snapshot_file;
mod snapshots;
mod spool;
mod warmup;

pub(crate) use export::{Export, Wanted, written};

pub(crate) use inventory::InventoryService;
#[cfg(test)]
pub(crate) use snapshots::RESTORES;
pub(crate) use snapshots::SnapshotService;
pub(crate) use spool::Spool;
pub(crate) use warmup::{NotBegun, WarmupService};
