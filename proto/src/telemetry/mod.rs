//! Numbers that merge: the latency sketch, and deltas of counters.

pub mod counters;
pub mod delta;
mod report;
pub mod samples;
mod sketch;
mod sketch_wire;

pub use report::{RefusedReport, ReportFault, check_delta, check_report};
pub use sketch::{MAX_VALUE, Sketch};
pub use sketch_wire::SketchFault;
