//! What a shell asks of the core beside its callbacks.

use super::state::bootstrap::Bootstrap;
use optimizer_proto::settings::Violation;

/// Between two ticks, milliseconds. For a host that is not told by [`super::host::Queues::set_tick_ms`].
pub const TICK_MS: u32 = super::workers::worker::TICK_MS;

/// Names of all statistics that [`super::host::Metrics::define_counter`] may be asked for, for a host that wants them in advance.
#[must_use]
pub fn statistics() -> Vec<&'static str> {
    super::state::stats::names()
}

/// Whether a plugin configuration would be taken, for a host that can refuse it.
///
/// # Errors
/// All violations, with JSON Pointers into the document.
pub fn check(document: &[u8]) -> Result<(), Vec<Violation>> {
    Bootstrap::parse(document).map(drop)
}
