//! The fleet's cached responses: reports, snapshots, warming up, and advice.

pub mod advice;
pub mod held;
pub mod predictions;
pub mod report;
pub mod snapshot;
pub mod ttl_advice;
pub mod warmup;
