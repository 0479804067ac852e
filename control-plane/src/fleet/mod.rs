//! The Envoys: their control streams, what they report, what they are asked.

mod envoy_admin;
mod service;
mod streams;

pub(crate) use envoy_admin::scrape;
pub(crate) use service::{Answer, FleetService};
pub(crate) use streams::COMMANDS_QUEUED;
