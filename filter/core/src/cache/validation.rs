//! Validation and freshening (RFC 9111 sections 4.3.1, 4.3.4, 4.3.5 and 3.2).

use super::encoder::{Parts, Times, encode};
use super::hop_by_hop::is_not_stored;
use super::policy::FreshnessPolicy;
use super::selecting::normalised;
use super::sharing;
use super::storability::{Exchange, Framing, judge};
use super::stored_response::{FOR_ANY_ORIGIN, StoredView};
use crate::Millis;
use crate::http::date;
use crate::http::entity_tag::EntityTag;
use crate::http::fields::{Fields, Line};
use crate::http::list::members;
use crate::http::method::Method;
use std::borrow::Cow;

/// Request fields to validate a stored response. The client's own conditions are taken out: they are evaluated against the
/// outcome (see [`super::precondition`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditional<'a> {
    /// `If-None-Match` to set.
    pub if_none_match: Option<Cow<'a, [u8]>>,
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

/// The conditional request for a stored response. Tags of the client that are not the stored one stand beside it: the client may have
/// what is newer than what is stored.
#[must_use]
pub fn conditional<'a>(stored: &StoredView<'a>, request: &Fields<'_>) -> Conditional<'a> {
    let tag = stored.get(b"etag").filter(|tag| !tag.is_empty());
    Conditional {
        if_none_match: tag.map(|tag| match other_tags(tag, request) {
            Some(others) => Cow::Owned([tag, b", ", others.as_slice()].concat()),
            None => Cow::Borrowed(tag),
        }),
        if_modified_since: stored.get(b"last-modified").filter(|date| !date.is_empty()),
    }
}

/// Longest list of a client's tags that is sent on beside the stored one.
const MAX_OTHER_TAGS: usize = 1024;

/// The client's `If-None-Match`, where it names tags and the stored one is not among them.
fn other_tags(stored: &[u8], request: &Fields<'_>) -> Option<Vec<u8>> {
    let given = request.all(b"if-none-match").collect::<Vec<_>>().join(&b", "[..]);
    let names = |tag: &[u8]| tag == b"*" || is_same(tag, stored);
    let fits = !given.is_empty() && given.len() <= MAX_OTHER_TAGS && !members(&given).any(names);
    fits.then_some(given)
}

/// Whether two tags are of one representation: compared weakly (RFC 9110 section 8.8.3.2), without quotes that one of them may lack, and
/// without the suffix by which servers that compress mark a coding.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    match (EntityTag::parse(one), EntityTag::parse(other)) {
        (Some(one), Some(other)) => one.weak_eq(other) || bare(one.opaque) == bare(other.opaque),
        _ => false,
    }
}

/// An opaque tag without quotes and without the suffix of a coding, as in `"a-gzip"`, `"a--gzip"`, `"a;br"`.
fn bare(opaque: &[u8]) -> &[u8] {
    let unquoted = opaque.strip_prefix(b"\"").unwrap_or(opaque);
    let unquoted = unquoted.strip_suffix(b"\"").unwrap_or(unquoted);
    let codings: [&[u8]; 6] = [b"gzip", b"gz", b"br", b"zstd", b"deflate", b"df"];
    let stems = codings.iter().filter_map(|coding| {
        let stem = unquoted.strip_suffix(*coding)?;
        [&b"--"[..], b"-", b";", b":"]
            .iter()
            .find_map(|mark| stem.strip_suffix(*mark))
    });
    stems.min_by_key(|stem| stem.len()).unwrap_or(unquoted)
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
    /// The 304 names a tag of the client's own: it is the client's answer. What is stored is no longer current: remove it.
    Clients,
    /// The 304 names neither. The origin said it to the stored validators all the same: answer with what is stored this once, and remove
    /// it, so that the next request fetches.
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
    let old_tag = stored.get(b"etag").unwrap_or_default();
    let others = (!old_tag.is_empty())
        .then(|| other_tags(old_tag, exchange.request))
        .flatten();
    match exchange.response.get(b"etag") {
        Some(new) if old_tag.is_empty() || is_same(new, old_tag) => {}
        Some(new) => {
            let mut listed = others.as_deref().into_iter().flat_map(members);
            let clients = listed.any(|tag| is_same(tag, new));
            return if clients { Freshened::Clients } else { Freshened::Other };
        }
        // Which of several tags it speaks of, only the origin could say.
        None if others.is_some() => return Freshened::Other,
        None => {}
    }
    if old_tag.is_empty()
        && let Some(other) = other_modification(stored, exchange)
    {
        return other;
    }
    match updated(stored, exchange, policy, jitter, spare) {
        Some((bytes, usable_until_ms, true)) => Freshened::Store { bytes, usable_until_ms },
        Some((bytes, _, false)) => Freshened::ServeOnly { bytes },
        None => Freshened::Other,
    }
}

/// What a 304 means that names another time of modification than the stored response, which has nothing but that to be told by. It does not
/// correspond to it (section 4.3.4): a server that only asks whether its file is newer answers so where an older file took its place.
fn other_modification(stored: &StoredView<'_>, exchange: &Exchange<'_>) -> Option<Freshened> {
    const MODIFIED: &[u8] = b"last-modified";
    let (new, old) = (exchange.response.get(MODIFIED)?, stored.get(MODIFIED)?);
    let seconds = |text: &[u8]| date::parse(text, exchange.response_time_ms).map(|ms| ms / 1_000);
    let (new, same) = (
        seconds(new),
        new == old || seconds(new).is_some() && seconds(new) == seconds(old),
    );
    if same {
        return None;
    }
    let clients = exchange.request.get(b"if-modified-since").and_then(seconds);
    let has_it = matches!((clients, new), (Some(clients), Some(new)) if clients == new);
    Some(if has_it { Freshened::Clients } else { Freshened::Other })
}

/// Fields of a 304 or of an answer to HEAD that do not replace stored ones: they describe that message's own content
/// (RFC 9111 section 3.2).
const NOT_UPDATED: [&[u8]; 6] = [
    b"content-length",
    b"content-digest",
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
    let sharing = &policy.sharing;
    let same_tag = |value: &[u8]| stored.get(b"etag").is_some_and(|old| differs_in_suffix(old, value));
    let mut new: Vec<Line<'_>> = exchange
        .response
        .iter()
        .filter(|(name, value)| {
            !(is_not_stored(name, exchange.response)
                || NOT_UPDATED.contains(name)
                || *name == b"cache-status"
                || *name == b"etag" && same_tag(value)
                || sharing.leaves_out((name, value), exchange.request))
        })
        .collect();
    // RFC 9110 section 6.6.1: without a date, the time of receipt counts and is written down.
    let received = date::write(exchange.response_time_ms);
    let dated = exchange.response.get(b"date");
    if dated
        .and_then(|text| date::parse(text, exchange.response_time_ms))
        .is_none()
    {
        new.retain(|(name, _)| *name != b"date");
        new.push((b"date", &received));
    }
    let remaining = stored.fields().filter(|(name, value)| {
        !new.iter().any(|(updated, _)| updated == name) && !sharing.leaves_out((name, value), exchange.request)
    });
    let lines: Vec<Line<'_>> = remaining.chain(new.iter().copied()).collect();
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
    let mut names: Vec<Vec<u8>> = stored.selecting().map(|(name, _)| name.to_vec()).collect();
    let (mut times, tags, usable_until_ms) = match plan {
        Ok(plan) => {
            let times = Times::of(&as_stored, &plan);
            names.extend(plan.vary);
            (times, plan.tags, plan.usable_until_ms)
        }
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
    if stored.for_any_origin() && sharing::is_for_any_origin(exchange.request, &judged) {
        times.flags |= FOR_ANY_ORIGIN;
    }
    names.sort_unstable();
    names.dedup();
    // This request was selected by the old names, so their values are the stored ones.
    let selecting: Vec<(&[u8], Option<Vec<u8>>)> = names
        .iter()
        .map(|name| (name.as_slice(), normalised(name, exchange.request)))
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

/// Whether two tags are of one representation and differ by more than their strength: then the stored one stays.
fn differs_in_suffix(stored: &[u8], new: &[u8]) -> bool {
    let weakly = match (EntityTag::parse(stored), EntityTag::parse(new)) {
        (Some(stored), Some(new)) => stored.weak_eq(new),
        _ => false,
    };
    !weakly && is_same(stored, new)
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
