//! Responses that are not stored whatever their freshness, and how long errors may be stored.

use super::freshness::is_heuristically_cacheable;
use super::not_stored::NotStored;
use crate::http::fields::Fields;

/// Fields by which an Envoy speaks to the Envoy before it about this one exchange.
const SIGNALS: [&[u8]; 5] = [
    b"x-envoy-immediate-health-check-fail",
    b"x-envoy-degraded",
    b"x-envoy-overloaded",
    b"x-envoy-local-overloaded",
    b"x-envoy-ratelimited",
];

/// Why a response is not stored, by its status and fields alone.
#[must_use]
pub fn refusal(status: u16, response: &Fields<'_>) -> Option<NotStored> {
    if speaks_of_the_request(status) {
        return Some(NotStored::RequestStatus);
    }
    let signals = SIGNALS.iter().any(|name| response.has(name));
    signals.then_some(NotStored::EnvoySignal)
}

/// Statuses that speak of the one request: of its credentials, conditions, ranges, content, or of what its client has used up. RFC 6585
/// forbids to store 428, 429, 431 and 511; the others are answers to fields that are in no key. 226 is the difference from what the
/// client has (RFC 3229 section 10.4.1).
fn speaks_of_the_request(status: u16) -> bool {
    matches!(
        status,
        226 | 401 | 402 | 403 | 406 | 407 | 408 | 409 | 411 | 412 | 413 | 415 | 416 | 417 | 418 | 421
            ..=426 | 428 | 429 | 431 | 511
    )
}

/// Whether an answer refuses the one request for what is in it: statuses that are never stored, and 400, which is stored only for a moment
/// and where its origin says so.
#[must_use]
pub fn refuses_the_request(status: u16) -> bool {
    status == 400 || status >= 401 && speaks_of_the_request(status)
}

/// True for an error that is not cacheable by default (RFC 9110 section 15.1): only the origin's own freshness stores it, and not for
/// long.
#[must_use]
pub fn is_brief(status: u16) -> bool {
    status >= 400 && !is_heuristically_cacheable(status)
}
