//! Connections with TLS or without, how much is received at a time, and how much waits to be read.

pub(crate) mod bodies;
pub(crate) mod calling;
pub(crate) mod incoming;
mod message_fault;
pub(crate) mod outbox;
pub(crate) mod places;
pub(crate) mod tls;
pub(crate) mod unread;

pub(crate) use message_fault::fault_of;
