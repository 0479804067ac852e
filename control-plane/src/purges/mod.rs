//! Purges: accepted, written down, done by every Envoy.

mod counting;
pub(crate) mod journal;
pub(crate) mod service;
