//! The Envoys: their control streams, what they report, what they are asked.

pub(crate) mod envoy_admin;
pub(crate) mod streams;
