//! The domain of the control plane. No sockets, no files, no clock: time is an argument, in milliseconds since the
//! epoch.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod alerts;
pub mod breakers;
pub mod cache;
pub mod experiments;
pub mod fleet;
pub mod health;
pub mod operations;
pub mod purges;
pub mod replication;
pub mod settings;
pub mod telemetry;
pub mod views;
pub mod what_if;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
