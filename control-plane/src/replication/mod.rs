//! Replicas of the control plane that act as one: what they share in Redis, and how each learns what another one did.
//!
//! It is above all capabilities. They reach it through the ports of `kernel`, and it passes on to them what others
//! report (`apply`).

mod apply;
mod follow;
mod outgoing;
mod reader;
mod relay;
mod replica;
mod run;
mod wire;

pub(crate) use apply::Owners;
pub(crate) use relay::Relay;
pub(crate) use replica::RedisReplication;
pub(crate) use run::run;
