//! Alerts: judged by rules, kept, silenced, and told to whoever is on call.

mod notifier;
mod service;
mod store;

pub(crate) use notifier::{Notifier, Receivers};
pub(crate) use service::AlertService;
