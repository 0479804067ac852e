//! Oracles: what the filter may do is judged by somebody else. By the same Envoy without the filter ([`routing`],
//! [`transparency`]), by nginx and Varnish in front of the same origin ([`sharing`]), and by what the client's own request looked like at
//! the origin ([`refresh`]).
//!
//! `make oracle` runs them for longer.

use std::io::Write;
use std::time::Duration;

mod configuration;
mod h2_client;
pub(crate) mod random;
mod refresh;
mod routing;
mod sharing;
mod transparency;

/// Prints a figure past the test runner, which keeps back what passing tests print.
fn say(line: &str) {
    // Without a terminal there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How much longer than once over everything an oracle goes on: `ORACLE_SECONDS`.
fn more_time() -> Duration {
    let seconds = std::env::var("ORACLE_SECONDS")
        .ok()
        .and_then(|value| value.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
