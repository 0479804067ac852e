//! Files and the machine.

pub(crate) mod alert_file;
mod cgroup;
pub(crate) mod config_dir;
pub(crate) mod document;
pub(crate) mod envoy_admin;
pub(crate) mod journal;
pub(crate) mod kube_config_map;
pub(crate) mod notify;
pub(crate) mod purge_journal;
pub(crate) mod redis;
pub(crate) mod secret_file;
pub(crate) mod snapshot_file;
pub(crate) mod spool;
pub(crate) mod state_file;
pub(crate) mod system;
pub(crate) mod tokens;
