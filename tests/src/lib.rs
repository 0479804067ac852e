//! The harness of the end-to-end tests, the conformance run and the benchmarks: a scriptable origin and other peers, beside the real
//! Envoy and the real control plane of the crate `harness`, on free ports of the loopback interface, in a directory of their own.
//!
//! Nothing here waits for time to pass: see [`wait::until`].

pub mod browser;
pub mod certificates;
pub mod collector;
pub mod fleet;
pub mod grpc_origin;
pub mod h2_origin;
pub mod hostile;
pub mod kube;
pub mod machine;
pub mod origin;
pub mod redis;
pub mod relay;
pub mod stack;
pub mod stream_origin;
pub mod svg;
pub mod times;
pub mod xds_clients;

pub use harness::{
    Failure, Result, artefacts, bootstrap, client, control_plane, envoy, failure, ports, process, rest, signals, wait,
};
