//! The domain of the filter: HTTP caching, storage, circuit breaking. It makes no host calls and reads no clock.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod breaker;
pub mod cache;
pub mod collapse;
pub mod driver;
pub mod engine;
pub mod graphql;
pub mod http;
pub mod learned;
pub mod limit;
pub mod policy;
pub mod reason;
pub mod shared_map;
pub mod store;
pub mod telemetry;
pub mod tier_breaker;
pub mod verify;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
