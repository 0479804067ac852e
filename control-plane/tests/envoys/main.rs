//! The real control plane and Envoys that are only a control stream.

mod common;
mod fleet;
mod reports;
