//! Files and the machine.

pub(crate) mod config_dir;
pub(crate) mod notify;
pub(crate) mod state_file;
pub(crate) mod system;
pub(crate) mod tokens;
