//! Connections with TLS or without, and how much is received at a time.

pub(crate) mod bodies;
pub(crate) mod calling;
pub(crate) mod incoming;
mod message_fault;
pub(crate) mod places;
pub(crate) mod tls;

pub(crate) use message_fault::fault_of;
