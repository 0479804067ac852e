//! Whole numbers, written as JSON numbers or as text the way `bc` prints them.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::ViolationCode;
use super::reader::{Outcome, Problem, Reading, given};

/// Digits beyond these are no number anybody meant.
const MAX_DIGITS: usize = 40;

/// A decimal number, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    /// The digits before the point; `u64::MAX` also stands for more.
    pub(super) whole: u64,
    /// Something other than zeros follows the point.
    pub(super) fraction: bool,
}

/// Reads a whole number in the range; a fraction is rounded down, with a notice.
pub(super) fn integer(value: &Value, range: &RangeInclusive<u64>) -> Outcome<u64> {
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    let decimal = match value {
        Value::Number(number) => from_number(number),
        Value::String(text) => from_text(text.trim()),
        _ => return Err(Problem::of(ViolationCode::WrongType, value, &allowed)),
    };
    let Some(decimal) = decimal else {
        return Err(Problem::of(ViolationCode::Malformed, value, &allowed));
    };
    let below_zero = decimal.negative && (decimal.whole > 0 || decimal.fraction);
    if below_zero || !range.contains(&decimal.whole) {
        return Err(Problem::of(ViolationCode::OutOfRange, value, &allowed));
    }
    let notice = decimal
        .fraction
        .then(|| format!("rounded down {} to {}", given(value), decimal.whole));
    Ok(Reading {
        value: decimal.whole,
        notice,
    })
}

/// As [`integer`], or a class word that stands for a number.
pub(super) fn classed_integer(value: &Value, range: &RangeInclusive<u64>, classes: &[(&str, u64)]) -> Outcome<u64> {
    let class = value
        .as_str()
        .and_then(|text| classes.iter().find(|(word, _)| *word == text.trim()));
    if let Some((_, meant)) = class {
        return Ok(Reading::exact(*meant));
    }
    integer(value, range).map_err(|problem| {
        let words = classes
            .iter()
            .map(|(word, meant)| format!("{word} ({meant})"))
            .collect::<Vec<_>>();
        Problem::new(problem.code, format!("{}, or {}", problem.message, words.join(", ")))
    })
}

/// Splits `[+-]digits[.digits]` with a digit at least somewhere; no exponents, no other signs.
pub(super) fn from_text(text: &str) -> Option<Decimal> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits_only = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !digits_only || !(1..=MAX_DIGITS).contains(&(whole.len() + fraction.len())) {
        return None;
    }
    Some(Decimal {
        negative,
        whole: saturating(whole),
        fraction: fraction.bytes().any(|byte| byte != b'0'),
    })
}

/// Reads digits; more than fit give `u64::MAX`.
pub(super) fn saturating(digits: &str) -> u64 {
    digits.bytes().fold(0_u64, |sum, byte| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(byte.wrapping_sub(b'0')))
    })
}

fn from_number(number: &serde_json::Number) -> Option<Decimal> {
    if let Some(whole) = number.as_u64() {
        return Some(Decimal {
            negative: false,
            whole,
            fraction: false,
        });
    }
    let float = number.as_f64().filter(|float| float.is_finite())?;
    // A cast saturates, and what is beyond u64 is beyond every range.
    let whole = float.abs().floor() as u64;
    Some(Decimal {
        negative: float < 0.0,
        whole,
        fraction: float.fract() != 0.0,
    })
}
