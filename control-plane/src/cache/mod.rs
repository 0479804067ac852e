//! Work on the stored responses of the Envoys: out, in, from one to another, and counted.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inventory;
pub(crate) mod snapshot_file;
pub(crate) mod spool;
pub(crate) mod warmup;
