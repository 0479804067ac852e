//! Whether an upstream may be called, and how the call ended. It owns the breaker's permits, the places within concurrency limits, and
//! what a response says of its origin.

pub(super) mod call_outcome;
pub(super) mod guard;
pub(super) mod origin;
pub(super) mod places;
