//! Sizes: a number of bytes, or a number with a decimal (`1MB`) or binary unit (`1MiB`).

use std::ops::RangeInclusive;

use serde_json::Value;

use super::ViolationCode;
use super::number;
use super::reader::{Outcome, Problem, Reading, given};

/// Units with their bytes; the short ones are those of Kubernetes quantities.
const UNITS: [(&str, u64); 14] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Reads a size in the range, as bytes.
pub(super) fn size(value: &Value, range: &RangeInclusive<u64>) -> Outcome<u64> {
    let allowed = format!(
        "a size from {} to {}",
        format_size(*range.start()),
        format_size(*range.end())
    );
    let refusal = |code| Problem::of(code, value, &allowed);
    let (number, unit) = match value {
        Value::String(text) => split(text.trim()).ok_or_else(|| refusal(ViolationCode::Malformed))?,
        Value::Number(_) => return number::integer(value, range).map_err(|problem| refusal(problem.code)),
        _ => return Err(refusal(ViolationCode::WrongType)),
    };
    let decimal = number::from_text(number).ok_or_else(|| refusal(ViolationCode::Malformed))?;
    if decimal.fraction && unit > 1 {
        return Err(Problem::of(
            ViolationCode::Malformed,
            value,
            &format!("{allowed}, whole numbers of a unit"),
        ));
    }
    let bytes = decimal.whole.saturating_mul(unit);
    if decimal.negative || !range.contains(&bytes) {
        return Err(refusal(ViolationCode::OutOfRange));
    }
    let notice = decimal
        .fraction
        .then(|| format!("rounded down {} to {}", given(value), format_size(bytes)));
    Ok(Reading { value: bytes, notice })
}

/// The canonical spelling: one whole number of the largest of GiB, MiB, KiB, B that divides it.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .take(4)
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| "0B".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// The number and the bytes of its unit.
fn split(text: &str) -> Option<(&str, u64)> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    if unit.is_empty() {
        return Some((number, 1));
    }
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some((number.trim_end(), *bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        size(&Value::from(text), &(0..=1 << 40))
            .ok()
            .map(|reading| reading.value)
    }

    #[test]
    fn reads_decimal_and_binary_units() {
        let cases = [
            ("64MiB", Some(64 << 20)),
            ("1MB", Some(1_000_000)),
            ("64Ki", Some(64 << 10)),
            ("2 KiB", Some(2_048)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("1.5", Some(1)),
            ("1.5MiB", None),
            ("MiB", None),
            ("1mib", None),
            ("1e3", None),
            ("", None),
            ("-1KiB", None),
            ("99999999999999999999GiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn writes_the_largest_exact_unit() {
        for (size, expected) in [
            (0, "0B"),
            (1_500, "1500B"),
            (2_048, "2KiB"),
            (1 << 20, "1MiB"),
            (3 << 30, "3GiB"),
        ] {
            assert_eq!(format_size(size), expected);
            assert_eq!(bytes(expected), Some(size));
        }
    }
}
