//! The harness of the end-to-end tests, the demo, the conformance run and the benchmarks: a scriptable origin, the real Envoy and
//! the real control plane on free ports of the loopback interface, in a directory of their own, stopped by process id.
//!
//! Nothing here waits for time to pass: see [`wait::until`].

pub mod artefacts;
pub mod bootstrap;
pub mod certificates;
pub mod client;
pub mod control_plane;
pub mod envoy;
pub mod failure;
pub mod fleet;
pub mod grpc_origin;
pub mod h2_origin;
pub mod hostile;
pub mod kube;
pub mod machine;
pub mod origin;
pub mod ports;
pub mod process;
pub mod redis;
pub mod relay;
pub mod rest;
pub mod signals;
pub mod stack;
pub mod stream_origin;
pub mod svg;
pub mod times;
pub mod wait;
pub mod xds_clients;

pub use failure::{Failure, Result};
