//! Durations: `15m`, `90s`, `500ms`, `1h30m`, or a class word. Kept as milliseconds.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::ViolationCode;
use super::number::saturating;
use super::reader::{Outcome, Problem, Reading, given};

pub(super) const SECOND_MS: u64 = 1_000;
pub(super) const MINUTE_MS: u64 = 60 * SECOND_MS;
pub(super) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;

/// Units with their milliseconds, from the largest; longer suffixes before those they end with.
const UNITS: [(&str, u64); 5] = [
    ("d", DAY_MS),
    ("h", HOUR_MS),
    ("m", MINUTE_MS),
    ("s", SECOND_MS),
    ("ms", 1),
];

/// The class words and the milliseconds they mean: short 60 s, medium 5 min, long 1 h.
pub const DURATION_CLASSES: [(&str, u64); 3] = [("short", 60_000), ("medium", 300_000), ("long", 3_600_000)];

/// Digits of a fraction that are looked at; a unit has no more decimals than nanoseconds of a day.
const MAX_FRACTION_DIGITS: usize = 9;

/// Reads a duration in the range, as milliseconds; parts of a millisecond are dropped, with a notice.
pub(super) fn duration(value: &Value, range: &RangeInclusive<u64>) -> Outcome<u64> {
    let allowed = || {
        let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
        format!("a duration from {least} to {most} such as \"90s\", \"15m\" or \"1h30m\"")
    };
    let Some(text) = value.as_str().map(str::trim) else {
        let hint = if value.is_number() {
            "; a number alone has no unit"
        } else {
            ""
        };
        return Err(Problem::of(
            ViolationCode::WrongType,
            value,
            &format!("{}{hint}", allowed()),
        ));
    };
    let class = DURATION_CLASSES
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, ms)| (*ms, true));
    let Some((ms, exact)) = class.or_else(|| parts(text)) else {
        return Err(Problem::of(ViolationCode::Malformed, value, &allowed()));
    };
    if !range.contains(&ms) {
        return Err(Problem::of(ViolationCode::OutOfRange, value, &allowed()));
    }
    let notice = (!exact).then(|| format!("rounded down {} to {}", given(value), format_duration(ms)));
    Ok(Reading { value: ms, notice })
}

/// Reads a duration that is no setting, as milliseconds: numbers with units, no class word. Parts of a millisecond are dropped.
#[must_use]
pub fn parse_duration(text: &str) -> Option<u64> {
    parts(text.trim()).map(|(ms, _)| ms)
}

/// The canonical spelling: one whole number of the largest of h, m, s, ms that divides it. Other tools know no days.
#[must_use]
pub fn format_duration(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let unit = UNITS.iter().skip(1).find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms));
    unit.map_or_else(String::new, |(name, unit_ms)| format!("{}{name}", ms / unit_ms))
}

/// Milliseconds and whether they are exact. Units must descend, each at most once.
fn parts(text: &str) -> Option<(u64, bool)> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let (mut total, mut exact) = (0_u64, true);
    while !rest.is_empty() {
        let (number, after_number) = split_while(rest, |byte| byte.is_ascii_digit() || byte == b'.');
        let (unit, after_unit) = split_while(after_number, |byte| byte.is_ascii_alphabetic());
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        let (ms, whole) = scaled(number, *unit_ms)?;
        total = total.saturating_add(ms);
        exact &= whole;
        rest = after_unit;
    }
    (!text.is_empty()).then_some((total, exact))
}

/// A decimal number times a unit, rounded down, and whether nothing was lost.
fn scaled(number: &str, unit_ms: u64) -> Option<(u64, bool)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits_only || fraction.len() > MAX_FRACTION_DIGITS || number.ends_with('.') {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    // Below 10^9 * 86,400,000, well inside u64.
    let part = saturating(fraction) * unit_ms;
    Some((
        saturating(whole).saturating_mul(unit_ms).saturating_add(part / scale),
        part.is_multiple_of(scale),
    ))
}

fn split_while(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_word_is_for_settings_alone() {
        assert_eq!(parse_duration(" 1h30m "), Some(5_400_000));
        for (word, _) in DURATION_CLASSES {
            assert_eq!(parse_duration(word), None);
            assert!(duration(&Value::from(word), &(0..=u64::MAX)).is_ok());
        }
    }

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("15m", Some((900_000, true))),
            ("90s", Some((90_000, true))),
            ("500ms", Some((500, true))),
            ("1h30m", Some((5_400_000, true))),
            ("1d2h3m4s5ms", Some((93_784_005, true))),
            ("0s", Some((0, true))),
            ("1.5s", Some((1_500, true))),
            ("0.0005s", Some((0, false))),
            ("99999999999999999999h", Some((u64::MAX, true))),
            ("30m1h", None),
            ("1m1m", None),
            ("1.s", None),
            (".5s", None),
            ("1..5s", None),
            ("15", None),
            ("m", None),
            ("", None),
            ("-5m", None),
            ("5 m", None),
            ("5M", None),
            ("5\u{b5}s", None),
            ("1e9999s", None),
            ("NaN", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn writes_the_largest_exact_unit() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (90_000, "90s"),
            (900_000, "15m"),
            (2_592_000_000, "720h"),
        ];
        for (ms, expected) in cases {
            assert_eq!(format_duration(ms), expected);
            assert_eq!(parts(expected), Some((ms, true)));
        }
    }
}
