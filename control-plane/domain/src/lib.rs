//! The heart of the control plane. It knows no socket, no file and no clock: time is an argument, in milliseconds since the epoch.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod active_health_check;
pub mod advice;
pub mod agreement;
pub mod alerts;
pub mod arrival;
pub mod book;
pub mod breaker_status;
pub mod cache_report;
pub mod canary;
pub mod change;
pub mod config_map;
pub mod envoy_faults;
pub mod envoy_state;
pub mod envoy_stats;
pub mod figure;
pub mod fleet;
mod fleet_figures;
pub mod health;
pub mod machine;
pub mod predictions;
pub mod purges;
pub mod recovery;
pub mod replication;
pub mod sequences;
pub mod shape;
pub mod snapshot;
pub mod steering;
pub mod sum;
pub mod tier;
pub mod ttl_advice;
pub mod unique_names;
pub mod views;
pub mod warm;
pub mod what_if;
pub mod windows;
pub mod write_back;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
