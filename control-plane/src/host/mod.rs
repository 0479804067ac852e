//! The machine, and what of it this process may use.

mod cgroup;
pub(crate) mod system;
