//! The ways in: REST for people and scripts, gRPC for Envoys.

pub(crate) mod bodies;
pub(crate) mod calling;
pub(crate) mod grpc;
pub(crate) mod incoming;
pub(crate) mod places;
pub(crate) mod rest;
pub(crate) mod tls;
