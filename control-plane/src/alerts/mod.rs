//! Alerts: what is kept of them, and how they are told.

pub(crate) mod notifier;
pub(crate) mod store;
