//! Files and the machine.

pub(crate) mod config_dir;
pub(crate) mod state_file;
pub(crate) mod system;
