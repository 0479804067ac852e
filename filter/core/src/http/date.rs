//! HTTP-date (RFC 9110 section 5.6.7).

use crate::Millis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds in a century, about: a two-digit year that lies more than half of it ahead means the one before.
const CENTURY_MS: u64 = 3_155_760_000_000;

/// Reads a date in any of the three formats, in milliseconds since the epoch. Two-digit years more than 50 years after `now_ms`
/// lie in the past. `None` for anything else.
#[must_use]
pub fn parse(value: &[u8], now_ms: Millis) -> Option<Millis> {
    let text = std::str::from_utf8(super::fields::trim(value)).ok()?;
    let time = httpdate::parse_http_date(text).ok().or_else(|| lenient(text))?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let read = u64::try_from(since.as_millis()).ok()?;
    let two_digit_year = text.contains('-');
    if two_digit_year && read > now_ms.saturating_add(CENTURY_MS / 2) {
        return read.checked_sub(CENTURY_MS);
    }
    Some(read)
}

/// The end of the year 9999, the last one that the format can say.
const LAST_MS: Millis = 253_402_300_799_999;

/// Writes a date in the preferred format.
#[must_use]
pub fn write(ms: Millis) -> Vec<u8> {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).into_bytes()
}

/// Reads a date whose case is wrong, or whose day of the week is another than its date's: both say plainly when (RFC 9111 section
/// 4.2 asks to match case-insensitively).
fn lenient(text: &str) -> Option<SystemTime> {
    const DAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let (day, rest) = text.split_at(text.find([',', ' '])?);
    let shown = |name: &'static str| {
        if day.len() == 3 {
            name.get(..3).unwrap_or(name)
        } else {
            name
        }
    };
    if !DAYS.iter().any(|name| shown(name).eq_ignore_ascii_case(day)) {
        return None;
    }
    let rest = titled(rest);
    DAYS.iter()
        .find_map(|name| httpdate::parse_http_date(&format!("{}{rest}", shown(name))).ok())
}

/// Words with one capital letter, and `GMT`.
fn titled(text: &str) -> String {
    let mut after_letter = false;
    let cased = text.chars().map(|letter| {
        let begins = !std::mem::replace(&mut after_letter, letter.is_ascii_alphabetic());
        if begins {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    });
    cased.collect::<String>().replace("Gmt", "GMT")
}

/// Writes the preferred format, `Sun, 06 Nov 1994 08:49:37 GMT`; fractions of a second are dropped, years end with 9999.
#[must_use]
pub fn format(time_ms: Millis) -> [u8; 29] {
    /// The last second of the year 9999.
    const LAST_MS: u64 = 253_402_300_799_000;
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(time_ms.min(LAST_MS));
    let text = httpdate::fmt_http_date(time);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    if text.len() == out.len() {
        out.copy_from_slice(text.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_formats_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "SUN, 06 nov 1994 08:49:37 gmt",
            "Thu Nov  6 08:49:37 1994",
            "monday, 06-NOV-94 08:49:37 GMT",
        ] {
            assert_eq!(
                parse(text.as_bytes(), 1_700_000_000_000),
                Some(784_111_777_000),
                "{text}"
            );
        }
        for text in [
            "0",
            "",
            "-1",
            "Sun, 06 Nov 1994 08:49:37",
            "yesterday",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(parse(b"\xff\xfe", 0), None);
    }

    #[test]
    fn the_preferred_format_is_written() {
        assert_eq!(&format(784_111_777_999), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&format(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
