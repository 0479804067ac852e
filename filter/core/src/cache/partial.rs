//! Storing answers to ranges (RFC 9111 sections 3 and 3.3, RFC 9110 section 15.3.7).
//!
//! A 206 answers the very range it was asked for, and no other: it is stored as if it had said `Vary: Range, If-Range`, and given
//! out as it came. Cutting smaller ranges from it, or combining several, pays only for large objects read in disorder, and goes
//! wrong with every origin whose `Content-Range` contradicts its content.

use crate::http::fields::Fields;

/// Request fields that select among stored answers to ranges.
pub const SELECTING: [&[u8]; 2] = [b"if-range", b"range"];

/// Whether a 206 may be stored: it answers a range, and is a single part with a valid `Content-Range` (RFC 9110 section 14.4).
#[must_use]
pub fn is_storable(request: &Fields<'_>, response: &Fields<'_>) -> bool {
    let mut lines = response.all(b"content-range");
    let (Some(range), None) = (lines.next(), lines.next()) else {
        return false;
    };
    request.has(b"range") && is_valid(range)
}

fn is_valid(range: &[u8]) -> bool {
    let read = || {
        let text = std::str::from_utf8(range).ok()?;
        let (unit, rest) = text.split_once(' ')?;
        let (positions, length) = rest.split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let (first, last): (u64, u64) = (number(first)?, number(last)?);
        let fits = match length {
            "*" => true,
            length => number(length)? > last,
        };
        Some(unit.eq_ignore_ascii_case("bytes") && first <= last && fits)
    };
    read().unwrap_or(false)
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_stored_with_a_valid_content_range_only() {
        for (range, storable) in [
            ("bytes 4-8/10", true),
            ("bytes 4-8/*", true),
            ("BYTES 0-0/1", true),
            ("bytes 4-10/10", false),
            ("bytes 8-4/10", false),
            ("bytes */10", false),
            ("bytes +4-8/10", false),
            ("bytes 4-8", false),
            ("pages 1-2/3", false),
            ("", false),
        ] {
            let request = Fields::from(vec![(&b"range"[..], &b"bytes=4-8"[..])]);
            let response = Fields::from(vec![(&b"content-range"[..], range.as_bytes())]);
            assert_eq!(is_storable(&request, &response), storable, "{range}");
            assert!(!is_storable(&Fields::default(), &response), "nobody asked for a range");
            assert!(!is_storable(&request, &Fields::default()), "multipart, or none said");
        }
    }
}
