//! What one VM knows of the upstreams that are called.

use super::health_checks::HealthChecks;
use super::limiter::Limiter;
use crate::breaker;

/// The guards in front of all upstreams.
#[derive(Debug, Default)]
pub struct Upstreams {
    pub(crate) breakers: breaker::Watch,
    pub(crate) limiter: Limiter,
    pub(crate) health_checks: HealthChecks,
}
