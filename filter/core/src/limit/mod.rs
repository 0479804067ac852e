//! How many calls an upstream gets at a time from one Envoy, whatever the number of its workers.

mod gradient;
mod pool;

pub use gradient::Gradient;
pub use pool::{Pool, PoolDemand, PoolStatus, all, seed};

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It may, and its place must be given back.
    Taken,
    /// It may go, and is not counted.
    Free,
    /// The limit is reached, and there is room to wait.
    Wait,
    /// The limit is reached, and so is that of those who wait.
    Full,
}

/// What the settings say, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicy {
    /// Calls in flight are counted and limited.
    pub enabled: bool,
    /// Most calls in flight per upstream and Envoy.
    pub limit: u32,
    /// The limit follows latency, between `minimum` and `limit`.
    pub adaptive: bool,
    /// Least adaptive limit, per Envoy.
    pub minimum: u32,
    /// Requests that may wait per worker and upstream.
    pub queue: usize,
    /// Longest wait, milliseconds.
    pub queue_ms: u64,
}

impl Default for LimitPolicy {
    fn default() -> Self {
        Self {
            enabled: false,
            limit: 1_024,
            adaptive: false,
            minimum: 10,
            queue: 0,
            queue_ms: 1_000,
        }
    }
}
