//! API Latency Optimizer as a dynamic module of Envoy's: the second shell around `filter-core`.
//!
//! Envoy's hooks come in by `hooks`; what the core asks of a host is in `host`; the C ABI is in `abi` alone.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

mod abi;
mod envoy;
mod errand;
mod grpc;
mod guard;
mod hooks;
mod host;
mod links;
mod mailbox;
mod note;
mod process;
mod reply;
mod shared;
mod statistics;
mod stream;
mod waiting;
mod worker;
mod workers;
