//! Conditional requests answered from the cache (RFC 9111 section 4.3.2, RFC 9110 section 13.2.2).

use crate::Millis;
use crate::http::date;
use crate::http::entity_tag::EntityTag;
use crate::http::fields::Fields;
use crate::http::list::members;

/// What a client's conditions compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validators<'a> {
    /// `ETag`.
    pub etag: Option<&'a [u8]>,
    /// `Last-Modified`.
    pub last_modified: Option<&'a [u8]>,
    /// `Date`, where there is no `Last-Modified`.
    pub date: Option<&'a [u8]>,
    /// When it came, where it says no date.
    pub received_ms: Millis,
}

impl Validators<'_> {
    /// When the response was made. Read only where a request asks for it.
    pub(super) fn date_ms(&self, now_ms: Millis) -> Millis {
        self.date
            .and_then(|text| date::parse(text, now_ms))
            .unwrap_or(self.received_ms)
    }
}

/// Outcome of a client's conditions on GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They hold or there are none: the full response (or the range).
    Proceed,
    /// 304.
    NotModified,
    /// `If-Match` or `If-Unmodified-Since` fails here: only the origin can say 412, so forward.
    AskOrigin,
}

/// Evaluates the client's conditions in the order of precedence.
#[must_use]
pub fn evaluate(validators: &Validators<'_>, request: &Fields<'_>, now_ms: Millis) -> Outcome {
    if request.has(b"if-match") || request.has(b"if-unmodified-since") {
        return Outcome::AskOrigin;
    }
    if request.has(b"if-none-match") {
        let stored = validators.etag.and_then(EntityTag::parse);
        let mut tags = request.all(b"if-none-match").flat_map(members);
        let matched = tags.any(|tag| {
            tag == b"*"
                || matches!((EntityTag::parse(tag), stored), (Some(requested), Some(stored)) if requested.weak_eq(stored))
        });
        return if matched {
            Outcome::NotModified
        } else {
            Outcome::Proceed
        };
    }
    let since = request
        .get(b"if-modified-since")
        .and_then(|text| date::parse(text, now_ms));
    let Some(since) = since else {
        return Outcome::Proceed;
    };
    let modified = match validators.last_modified {
        Some(text) => date::parse(text, now_ms),
        None => Some(validators.date_ms(now_ms)),
    };
    match modified {
        Some(modified) if modified / 1_000 <= since / 1_000 => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}
