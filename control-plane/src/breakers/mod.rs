//! Operators' overrides of circuit breakers.

mod service;

pub(crate) use service::BreakerService;
