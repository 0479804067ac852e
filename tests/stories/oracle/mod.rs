//! Oracles: what the filter may do is judged by somebody else. By the same Envoy without the filter ([`routing`]), by nginx and
//! Varnish in front of the same origin ([`sharing`]), and by what the client's own request looked like at the origin ([`refresh`]).
//!
//! `make oracle` runs them for longer.

use std::io::Write;

mod configuration;
mod h2_client;
mod random;
mod refresh;
mod routing;
mod sharing;

/// Prints a figure past the test runner, which keeps back what passing tests print.
fn say(line: &str) {
    // Without a terminal there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
