//! Circuit breaker per upstream, common to all workers of an Envoy.
//!
//! Closed, open, half-open as in the literature; exact counts in a ring of ten buckets, so that the decision does not depend on
//! the request rate; the record of each upstream lives in shared data and changes by compare-and-swap. An operator's override stands
//! above the breaker's judgement until it runs out. After a recovery the upstream is led back to its load ([`ramp`]).

mod check;
#[cfg(test)]
mod every_order;
mod late;
mod machine;
mod outcome;
mod policy;
mod ramp;
mod record;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use check::{Quiet, begin_check, end_check, is_closed, quiet};
pub use optimizer_proto::codes::BreakerState;
pub use outcome::{OutcomeClass, classify};
pub use policy::{BreakerPolicy, FailurePolicy};
pub use record::{Cause, Evidence, Forced, State};
pub use sweep::sweep;
pub use table::{Decided, apply_override, is_resting, seed};
pub use view::{View, all};
pub use watch::Watch;

use crate::Millis;

/// The permission for one call to an upstream. Its outcome is reported exactly once, however the call ends; an
/// unresolved permit expires by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    upstream: String,
    generation: u64,
    probe: Option<u64>,
}

impl Permit {
    /// Whether the call it is for tries out an upstream that failed before.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The upstream it is for.
    #[must_use]
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// What is kept of it once the call is counted, for a failure that shows only after the response head.
    #[must_use]
    pub fn counted(&self, at_ms: Millis) -> Counted {
        Counted {
            upstream: self.upstream.clone(),
            generation: self.generation,
            probe: self.probe.is_some(),
            at_ms,
        }
    }
}

/// A call that was counted as a success when its response head came. It is no permit: it can only turn that success into a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    upstream: String,
    generation: u64,
    probe: bool,
    at_ms: Millis,
}

/// A call that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The VM that makes it.
    pub holder: u64,
    /// Something stale serves in its place.
    pub can_wait: bool,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The breaker is open.
    Open,
    /// The breaker is half-open, and its probes are under way.
    HalfOpen,
    /// An operator has opened it.
    ForcedOpen,
    /// The upstream has just come back, and the call can wait.
    Recovering,
}

/// A call refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// When to try again, milliseconds from now.
    pub retry_after_ms: Millis,
    /// The reason.
    pub why: Why,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The upstream of the breaker.
    pub upstream: String,
    /// Before.
    pub from: BreakerState,
    /// After.
    pub to: BreakerState,
    /// The breaker's own state changed, but calls do not observe it: an operator's override or a dry run takes
    /// precedence.
    pub overruled: bool,
    /// What caused it.
    pub cause: Cause,
    /// What it saw, when it opened.
    pub evidence: Evidence,
    /// When it happened.
    pub at_ms: Millis,
}
