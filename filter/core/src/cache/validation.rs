//! Validation and freshening (RFC 9111 sections 4.3.1, 4.3.4, 4.3.5 and 3.2).

use super::policy::FreshnessPolicy;
use super::storability::Exchange;
use super::stored_response::StoredView;
use crate::Millis;
use crate::http::fields::Fields;

/// Request fields to validate a stored response. The client's own conditions are taken out: they are evaluated against the
/// outcome (see [`super::precondition`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditional<'a> {
    /// `If-None-Match` to set.
    pub if_none_match: Option<&'a [u8]>,
    /// `If-Modified-Since` to set.
    pub if_modified_since: Option<&'a [u8]>,
}

impl Conditional<'_> {
    /// Client fields to remove before setting these.
    pub const REPLACED: [&'static [u8]; 2] = [b"if-none-match", b"if-modified-since"];

    /// True when the stored response has no validator: forward the request as the client sent it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.if_none_match.is_none() && self.if_modified_since.is_none()
    }
}

/// The conditional request for a stored response.
#[must_use]
pub fn conditional<'a>(stored: &StoredView<'a>) -> Conditional<'a> {
    let _ = stored;
    Conditional::default()
}

/// What a 304 made of the stored response.
#[derive(Debug)]
pub enum Freshened {
    /// Store these bytes in place of the old ones until `usable_until_ms`, and answer with them.
    Store {
        /// Whole encoded response.
        bytes: Vec<u8>,
        /// For the store.
        usable_until_ms: Millis,
    },
    /// Answer with these bytes, then remove the stored response: it may not be kept any longer.
    ServeOnly {
        /// Whole encoded response.
        bytes: Vec<u8>,
    },
    /// The 304 is about another response: forward it, keep the stored one as it is.
    Other,
}

/// Freshens a stored response with a 304. `exchange.method` and `request` are the client's. `spare`: capacity behind the bytes.
#[must_use]
pub fn freshen(
    stored: &StoredView<'_>,
    exchange: &Exchange<'_>,
    policy: &FreshnessPolicy,
    jitter: u64,
    spare: usize,
) -> Freshened {
    let _ = (stored, exchange, policy, jitter, spare);
    Freshened::Other
}

/// What a successful answer to HEAD means for a stored response to GET (section 4.3.5).
#[derive(Debug)]
pub enum HeadEffect {
    /// The stored response is still current; these bytes replace it.
    Store {
        /// Whole encoded response.
        bytes: Vec<u8>,
        /// For the store.
        usable_until_ms: Millis,
    },
    /// It changed at the origin: remove or soft-purge it.
    Invalidate,
    /// Nothing follows.
    Nothing,
}

/// Compares an answer to HEAD with the stored response to GET.
#[must_use]
pub fn head(
    stored: &StoredView<'_>,
    exchange: &Exchange<'_>,
    policy: &FreshnessPolicy,
    jitter: u64,
    spare: usize,
) -> HeadEffect {
    let _ = (stored, exchange, policy, jitter, spare);
    HeadEffect::Nothing
}

/// True when the request carries conditions of its own that go to the origin as they are.
#[must_use]
pub fn has_client_conditions(request: &Fields<'_>) -> bool {
    [
        &b"if-none-match"[..],
        b"if-modified-since",
        b"if-match",
        b"if-unmodified-since",
    ]
    .iter()
    .any(|name| request.has(name))
}
