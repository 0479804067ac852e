//! Validation and freshening (RFC 9111 sections 4.3.1, 4.3.4, 4.3.5 and 3.2).

use super::encoder::{Parts, Times, encode};
use super::hop_by_hop::is_not_stored;
use super::policy::FreshnessPolicy;
use super::storability::{Exchange, Framing, judge};
use super::stored_response::StoredView;
use crate::Millis;
use crate::http::entity_tag::EntityTag;
use crate::http::fields::{Fields, Line};
use crate::http::method::Method;

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
    Conditional {
        if_none_match: stored.get(b"etag").filter(|tag| !tag.is_empty()),
        if_modified_since: stored.get(b"last-modified").filter(|date| !date.is_empty()),
    }
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
    let new_tag = exchange.response.get(b"etag").and_then(EntityTag::parse);
    let old_tag = stored.get(b"etag").and_then(EntityTag::parse);
    if let (Some(new), Some(old)) = (new_tag, old_tag)
        && !new.weak_eq(old)
    {
        return Freshened::Other;
    }
    match updated(stored, exchange, policy, jitter, spare) {
        Some((bytes, usable_until_ms, true)) => Freshened::Store { bytes, usable_until_ms },
        Some((bytes, _, false)) => Freshened::ServeOnly { bytes },
        None => Freshened::Other,
    }
}

/// Fields of a 304 or of an answer to HEAD that do not replace stored ones: they describe that message's own content
/// (RFC 9111 section 3.2).
const NOT_UPDATED: [&[u8]; 5] = [
    b"content-length",
    b"content-encoding",
    b"content-range",
    b"content-md5",
    b"transfer-encoding",
];

/// The stored response with the fields of a newer message; whether it may still be stored.
fn updated(
    stored: &StoredView<'_>,
    exchange: &Exchange<'_>,
    policy: &FreshnessPolicy,
    jitter: u64,
    spare: usize,
) -> Option<(Vec<u8>, Millis, bool)> {
    let new: Vec<Line<'_>> = exchange
        .response
        .iter()
        .filter(|(name, _)| {
            !is_not_stored(name, exchange.response) && !NOT_UPDATED.contains(name) && *name != b"cache-status"
        })
        .collect();
    let kept = stored
        .fields()
        .filter(|(name, _)| !new.iter().any(|(updated, _)| updated == name));
    let lines: Vec<Line<'_>> = kept.chain(new.iter().copied()).collect();
    // Age of the newer message counts, and only it: it is not among the stored lines.
    let mut judged_lines = lines.clone();
    judged_lines.extend(exchange.response.iter().filter(|(name, _)| *name == b"age"));
    let judged = Fields::from(judged_lines);
    let as_stored = Exchange {
        method: Method::Get,
        status: stored.status(),
        response: &judged,
        framing: Framing::Length(stored.body().len() as u64),
        ..*exchange
    };
    let plan = judge(&as_stored, policy, jitter);
    let storable = plan.is_ok();
    let (times, tags, usable_until_ms) = match &plan {
        Ok(plan) => (Times::of(&as_stored, plan), plan.tags.clone(), plan.usable_until_ms),
        Err(_) => {
            let now = exchange.response_time_ms;
            (
                Times {
                    request_ms: exchange.request_time_ms,
                    response_ms: now,
                    ..Times::default()
                },
                Vec::new(),
                now,
            )
        }
    };
    let selecting: Vec<(&[u8], Option<Vec<u8>>)> = stored
        .selecting()
        .map(|(name, value)| (name, value.map(<[u8]>::to_vec)))
        .collect();
    let parts = Parts {
        key: stored.key(),
        status: stored.status(),
        times,
        tags: &tags,
    };
    let body = stored.body();
    let mut encoder = encode(&parts, &selecting, &lines, Some(body.len() as u64), body.len(), spare).ok()?;
    encoder.append(body);
    Some((encoder.seal()?, usable_until_ms, storable))
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
    if exchange.status != 200 || stored.status() != 200 {
        return HeadEffect::Nothing;
    }
    let length = exchange
        .response
        .get(b"content-length")
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
    let differs =
        |name: &[u8]| matches!((exchange.response.get(name), stored.get(name)), (Some(new), Some(old)) if new != old);
    if differs(b"etag") || differs(b"last-modified") || length.is_some_and(|length| length != stored.body().len()) {
        return HeadEffect::Invalidate;
    }
    match updated(stored, exchange, policy, jitter, spare) {
        Some((bytes, usable_until_ms, true)) => HeadEffect::Store { bytes, usable_until_ms },
        Some((_, _, false)) => HeadEffect::Invalidate,
        None => HeadEffect::Nothing,
    }
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
