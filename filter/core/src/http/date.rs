//! HTTP-date (RFC 9110 section 5.6.7).

use crate::Millis;

/// Reads a date in any of the three formats, in milliseconds since the epoch. Two-digit years more than 50 years after `now_ms`
/// lie in the past. `None` for anything else.
#[must_use]
pub fn parse(value: &[u8], now_ms: Millis) -> Option<Millis> {
    let _ = (value, now_ms);
    None
}

/// Writes the preferred format, `Sun, 06 Nov 1994 08:49:37 GMT`; fractions of a second are dropped, years end with 9999.
#[must_use]
pub fn format(time_ms: Millis) -> [u8; 29] {
    let _ = time_ms;
    *b"Thu, 01 Jan 1970 00:00:00 GMT"
}
