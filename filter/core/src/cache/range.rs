//! Ranges cut from a stored 200 (RFC 9110 section 14).

use super::precondition::Validators;
use crate::Millis;
use crate::http::date;
use crate::http::entity_tag::EntityTag;
use crate::http::fields::Fields;
use crate::http::list::members;

/// Most ranges answered of one request; more are answered with the whole representation.
pub const MAX_RANGES: usize = 16;

/// Which part of the representation answers the request. Positions are inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The whole: no `Range`, not understood, or `If-Range` fails.
    Whole,
    /// One part: 206 with `Content-Range`.
    Single(u64, u64),
    /// Several parts: 206 multipart/byteranges.
    Multiple(Vec<(u64, u64)>),
    /// 416.
    Unsatisfiable,
}

/// Selects by `Range` and `If-Range` of a GET on a representation of `length` bytes.
#[must_use]
pub fn select(request: &Fields<'_>, validators: &Validators<'_>, length: u64, now_ms: Millis) -> Selection {
    let mut lines = request.all(b"range");
    let (Some(range), None) = (lines.next(), lines.next()) else {
        return Selection::Whole;
    };
    let Some((unit, set)) = range.iter().position(|byte| *byte == b'=').map(|at| range.split_at(at)) else {
        return Selection::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes") || !if_range_holds(request, validators, now_ms) {
        return Selection::Whole;
    }
    let specs: Vec<&[u8]> = members(set.get(1..).unwrap_or_default()).collect();
    if specs.is_empty() || specs.len() > MAX_RANGES {
        return Selection::Whole;
    }
    let mut parts = Vec::new();
    for spec in specs {
        match part(spec, length) {
            Some(Some(found)) => parts.push(found),
            Some(None) => {}
            None => return Selection::Whole,
        }
    }
    match parts.as_slice() {
        [] => Selection::Unsatisfiable,
        [(first, last)] => Selection::Single(*first, *last),
        // Overlapping parts would let a small request ask for a large answer.
        several if several.iter().map(|(first, last)| last - first + 1).sum::<u64>() > length => Selection::Whole,
        _ => Selection::Multiple(parts),
    }
}

/// One range-spec: `None` when malformed, `Some(None)` when it selects nothing.
fn part(spec: &[u8], length: u64) -> Option<Option<(u64, u64)>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
    let number = |text: &[u8]| -> Option<u64> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(text.iter().fold(0_u64, |sum, digit| {
            sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        }))
    };
    if first.is_empty() {
        let suffix = number(last)?;
        return Some((suffix > 0 && length > 0).then(|| (length.saturating_sub(suffix), length - 1)));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < length).then(|| (first, last.min(length - 1))))
}

/// RFC 9110 section 13.1.5: only a strong match lets a part be sent.
fn if_range_holds(request: &Fields<'_>, validators: &Validators<'_>, now_ms: Millis) -> bool {
    let Some(condition) = request.get(b"if-range") else {
        return true;
    };
    if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
        let stored = validators.etag.and_then(EntityTag::parse);
        return matches!((EntityTag::parse(condition), stored), (Some(requested), Some(stored)) if requested.strong_eq(stored));
    }
    let requested = date::parse(condition, now_ms);
    let modified = validators.last_modified.and_then(|text| date::parse(text, now_ms));
    // A date is a strong validator only when it lies a second before the response's own (RFC 9110 section 8.8.2.2).
    matches!((requested, modified), (Some(requested), Some(modified)) if requested == modified && modified + 1_000 <= validators.date_ms(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_selected() {
        for (range, expected) in [
            ("bytes=0-4", Selection::Single(0, 4)),
            ("bytes=5-", Selection::Single(5, 9)),
            ("bytes=-3", Selection::Single(7, 9)),
            ("bytes=-30", Selection::Single(0, 9)),
            ("bytes=8-99", Selection::Single(8, 9)),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=0-1, 4-5", Selection::Multiple(vec![(0, 1), (4, 5)])),
            ("bytes=0-9, 0-9", Selection::Whole),
            ("bytes=5-2", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("lines=1-2", Selection::Whole),
            ("bytes", Selection::Whole),
        ] {
            let request = Fields::from(vec![(&b"range"[..], range.as_bytes())]);
            assert_eq!(select(&request, &Validators::default(), 10, 0), expected, "{range}");
        }
    }
}
