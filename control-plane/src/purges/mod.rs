//! Purges: accepted, written down, done by every Envoy.

mod client;
mod counting;
mod journal;
mod late;
mod record;
mod recording;
mod service;
mod span;

pub(crate) use service::{Outstanding, PurgeService};
#[cfg(test)]
pub(crate) use service::{TARGETS_AT_ONCE, TARGETS_PER_SECOND};
