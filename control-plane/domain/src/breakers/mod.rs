//! Circuit breakers of the fleet: their states, and operators' overrides.

pub mod active_health_check;
pub mod overrides;
pub mod state;
pub mod status;
