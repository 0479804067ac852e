//! The ConfigMap as a source of settings: by its volume, or by the Kubernetes API.

#[cfg(feature = "kubernetes")]
pub(crate) mod api;
mod intake;
pub(crate) mod volume;
