//! Circuit breaker per upstream, common to all workers of an Envoy.
//!
//! Closed, open, half-open as in the literature; exact counts in a ring of ten buckets, so that the decision does not depend on
//! the request rate; the record of each upstream lives in shared data and changes by compare-and-swap.

mod machine;
mod outcome;
mod policy;
mod record;
mod table;
#[cfg(test)]
mod tests;

pub use outcome::{OutcomeClass, classify};
pub use policy::{BreakerPolicy, FailurePolicy};
pub use record::{Cause, Forced, State};
pub use table::{Refusal, Transition, View, acquire, all, resolve, seed, steer};

/// Leave to call an upstream. To be resolved once, however the call ends; one never resolved runs out by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    upstream: String,
    generation: u64,
    probe: Option<u64>,
}

impl Permit {
    /// The upstream it is for.
    #[must_use]
    pub fn upstream(&self) -> &str {
        &self.upstream
    }
}
