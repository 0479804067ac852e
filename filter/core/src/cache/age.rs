//! Age (RFC 9111 sections 4.2.3 and 5.1).

use crate::Millis;
use crate::http::fields::Fields;

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
    let _ = (response, request_time_ms, response_time_ms);
    InitialAge::default()
}

/// The value of `Age`: first member, `None` when that is no delta-seconds.
#[must_use]
pub fn field_value(response: &Fields<'_>) -> Option<u32> {
    let _ = response;
    None
}
