//! Lines for whoever started this. Where nobody reads any more (a closed terminal, a pipe that ended), there is nothing to tell.

use std::io::Write;

/// A line on standard output.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
