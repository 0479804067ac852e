//! How well the control plane and its Envoys are.

pub(crate) mod monitor;
