//! Operators' overrides of circuit breakers.

pub(crate) mod service;
