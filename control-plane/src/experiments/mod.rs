//! Experiments: a change of settings on part of the fleet, judged beside a control group, promoted or rolled back by itself.
//!
//! The change itself is a canary of the settings. Here it is known how both arms fare, and what is to become of it.

mod judge;
mod own;
mod service;
mod store;

#[cfg(test)]
mod tests;

pub(crate) use service::{ExperimentService, Unable};
