//! Age (RFC 9111 sections 4.2.3 and 5.1).

use crate::Millis;
use crate::http::cache_control::delta_seconds;
use crate::http::date;
use crate::http::fields::{Fields, trim};
use crate::http::list::members;

/// What the age at the time of the response is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InitialAge {
    /// `Date` of the response, or the response time without a valid one.
    pub date_ms: Millis,
    /// `corrected_initial_age`.
    pub corrected_ms: Millis,
}

/// Age at the time of the response, from `Age`, `Date` and the time the exchange took.
#[must_use]
pub fn initial(response: &Fields<'_>, request_time_ms: Millis, response_time_ms: Millis) -> InitialAge {
    let date_ms = response
        .get(b"date")
        .and_then(|text| date::parse(text, response_time_ms))
        .unwrap_or(response_time_ms);
    let apparent = response_time_ms.saturating_sub(date_ms);
    let given = u64::from(field_value(response).unwrap_or(0)) * 1_000;
    let corrected = given.saturating_add(response_time_ms.saturating_sub(request_time_ms));
    InitialAge {
        date_ms,
        corrected_ms: apparent.max(corrected),
    }
}

/// The value of `Age`: first member, `None` when that is no delta-seconds.
#[must_use]
pub fn field_value(response: &Fields<'_>) -> Option<u32> {
    // Parameters, which the field does not have but some caches send, are cut off rather than the age forgotten.
    let first = members(response.get(b"age")?).next()?;
    delta_seconds(trim(first.split(|byte| *byte == b';').next()?))
}
