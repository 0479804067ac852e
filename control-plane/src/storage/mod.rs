//! Files that survive a crash.

pub(crate) mod document;
pub(crate) mod journal;
pub(crate) mod secret_file;
