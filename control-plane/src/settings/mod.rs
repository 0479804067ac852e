//! The settings: how they change, where they are kept, by which ways they come.

mod adopt;
mod begin;
mod change;
pub(crate) mod config_map;
mod doubt;
mod published;
mod recovery;
mod reported;
mod rollout;
mod service;
pub(crate) mod store;

pub(crate) use change::proposing;
pub(crate) use published::Published;
#[cfg(test)]
pub(crate) use reported::MAX_TOLD;
pub(crate) use service::{Parts, SettingsService};
