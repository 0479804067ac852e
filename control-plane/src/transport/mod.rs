//! The ways in: REST for people and scripts, gRPC for Envoys.

pub(crate) mod grpc;
pub(crate) mod rest;
