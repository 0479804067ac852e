//! Starts and watches the product, for the demo, the tests and the benchmarks: the real Envoy and the real control plane on ports of
//! the loopback interface, stopped by process id, and a client that sends what it is told.
//!
//! `make run` builds this crate, so it depends on little. What only tests need is in the crate `e2e`, which shows all of this as its own.
//!
//! Nothing here waits for time to pass: see [`wait::until`].

pub mod artefacts;
pub mod bootstrap;
pub mod client;
pub mod control_plane;
pub mod envoy;
pub mod failure;
pub mod ports;
pub mod process;
pub mod rest;
pub mod signals;
pub mod wait;

pub use failure::{Failure, Result};
