//! Numbers that Envoys report: put into windows of time and added up.

pub mod envoy_state;
pub mod envoy_stats;
pub mod figure;
pub mod sequences;
pub mod sum;
pub mod windows;
