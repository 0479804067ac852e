//! Circuit breakers of the fleet: how they stand, and what operators have overridden.

pub mod active_health_check;
pub mod overrides;
pub mod state;
pub mod status;
