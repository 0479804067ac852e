//! The settings: how they change, where they are kept, by which ways they come.

mod adopt;
mod begin;
mod change;
pub(crate) mod config_map;
mod findings;
mod published;
mod quarantine;
mod recovery;
mod rollout;
mod service;
pub(crate) mod store;

pub(crate) use change::proposing;
pub(crate) use published::Published;
pub(crate) use service::{Parts, SettingsService};
