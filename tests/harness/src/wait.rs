//! Waiting for conditions.

use crate::{Failure, Result};
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest wait for something that a busy machine does in a second or two.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until `look` gives a value, at the longest for [`PATIENCE`]. `what` completes the sentence "never saw …".
///
/// # Errors
/// The time is over.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
    until_within(PATIENCE, what, look)
}

/// As [`until`] with an own limit.
///
/// # Errors
/// The time is over.
pub fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = look() {
            return Ok(value);
        }
        if Instant::now() >= end {
            return Err(Failure::new(format!("never saw {what} in {limit:?}")));
        }
        std::thread::sleep(PAUSE);
    }
}
