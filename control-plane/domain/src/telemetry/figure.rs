//! Numbers as people, jq and bc read them.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use std::fmt;
use utoipa::ToSchema;

/// A number with at most four decimals, never NaN, infinite or with an exponent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = f64)]
pub struct Figure(Number);

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Rounded to four decimals, never NaN, infinite or so small that JSON would write an exponent.
#[must_use]
pub fn number(value: f64) -> Figure {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if rounded.is_finite() && rounded.fract() == 0.0 && rounded.abs() < 9.0e15 {
        // A whole number is written as one: jq and bc read `12` and `12.0` alike, people prefer the first.
        return Figure(Number::from(rounded as i64));
    }
    Figure(Number::from_f64(rounded).unwrap_or_else(|| Number::from(0)))
}

/// A share in percent; 0 of nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}
