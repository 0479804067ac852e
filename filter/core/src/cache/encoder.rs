//! Writing a stored response (see [`super::stored_response`] for the format).

use super::hop_by_hop::is_not_stored;
use super::selecting::normalised;
use super::storability::{Exchange, Framing, Plan};
use super::stored_response::{
    ABSENT, FIXED, FOR_ANY_ORIGIN, GRANTED, IMMUTABLE, MAGIC, MUST_REVALIDATE, NO_CACHE, PREFIX,
};
use crate::Millis;
use crate::http::fields::Line;
use xxhash_rust::xxh3::xxh3_64;

/// Largest head the format holds.
const MAX_HEAD: usize = 16 << 20;

/// Writes a stored response: the head at once, the body as it comes, the checksums last.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    head_end: usize,
    expected: Option<u64>,
}

impl Encoder {
    /// Writes the head, with capacity reserved for `body_hint` bytes of body and `spare` bytes behind it.
    ///
    /// # Errors
    /// [`super::NotStored::HeadTooLarge`] when the head exceeds the format (16 MiB).
    pub fn begin(
        key: &[u8],
        exchange: &Exchange<'_>,
        plan: &Plan,
        body_hint: usize,
        spare: usize,
    ) -> Result<Self, super::NotStored> {
        let stored = |name: &[u8]| {
            !is_not_stored(name, exchange.response)
                && name != b"content-length"
                && !plan.excluded.iter().any(|excluded| excluded == name)
        };
        let lines: Vec<Line<'_>> = exchange.response.iter().filter(|(name, _)| stored(name)).collect();
        let selecting: Vec<(&[u8], Option<Vec<u8>>)> = plan
            .vary
            .iter()
            .map(|name| (name.as_slice(), normalised(name, exchange.request)))
            .collect();
        let parts = Parts {
            key,
            status: exchange.status,
            times: Times::of(exchange, plan),
            tags: &plan.tags,
        };
        let expected = match exchange.framing {
            Framing::Length(length) => Some(length),
            Framing::Empty => Some(0),
            Framing::Delimited | Framing::Close => None,
        };
        encode(&parts, &selecting, &lines, expected, body_hint, spare)
    }

    /// Appends a piece of the body.
    pub fn append(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    /// Bytes so far, head included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true: there is always a head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of body so far.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.bytes.len().saturating_sub(self.head_end)
    }

    /// Finishes the bytes. `None` when the body disagrees with the `Content-Length` the response had.
    #[must_use]
    pub fn seal(mut self) -> Option<Vec<u8>> {
        let length = u64::try_from(self.body_len()).ok()?;
        if self.expected.is_some_and(|expected| expected != length) {
            return None;
        }
        let (head, body) = self.bytes.split_at_mut_checked(self.head_end)?;
        head.get_mut(12..20)?.copy_from_slice(&xxh3_64(body).to_le_bytes());
        head.get_mut(24..32)?.copy_from_slice(&length.to_le_bytes());
        let sum = xxh3_64(head.get(12..)?);
        head.get_mut(4..12)?.copy_from_slice(&sum.to_le_bytes());
        Some(self.bytes)
    }
}

/// What the fixed part of the head holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) request_ms: Millis,
    pub(super) response_ms: Millis,
    pub(super) corrected_age_ms: Millis,
    pub(super) lifetime_ms: Millis,
    pub(super) swr_ms: Millis,
    pub(super) sie_ms: Millis,
    pub(super) usable_until_ms: Millis,
    pub(super) flags: u32,
}

impl Times {
    pub(super) fn of(exchange: &Exchange<'_>, plan: &Plan) -> Self {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        Self {
            request_ms: exchange.request_time_ms,
            response_ms: exchange.response_time_ms,
            corrected_age_ms: plan.age.corrected_ms,
            lifetime_ms: plan.lifetime.ms,
            swr_ms: plan.stale_while_revalidate_ms,
            sie_ms: plan.stale_if_error_ms,
            usable_until_ms: plan.usable_until_ms,
            flags: flag(plan.no_cache, NO_CACHE)
                | flag(plan.must_revalidate, MUST_REVALIDATE)
                | flag(plan.immutable, IMMUTABLE)
                | flag(plan.granted, GRANTED)
                | flag(plan.for_any_origin, FOR_ANY_ORIGIN),
        }
    }
}

pub(super) struct Parts<'a> {
    pub(super) key: &'a [u8],
    pub(super) status: u16,
    pub(super) times: Times,
    pub(super) tags: &'a [Vec<u8>],
}

pub(super) fn encode(
    parts: &Parts<'_>,
    selecting: &[(&[u8], Option<Vec<u8>>)],
    lines: &[Line<'_>],
    expected: Option<u64>,
    body_hint: usize,
    spare: usize,
) -> Result<Encoder, super::NotStored> {
    let text: usize = lines.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let head_len = PREFIX + FIXED + parts.key.len() + text + 256;
    let mut bytes = Vec::with_capacity(head_len.saturating_add(body_hint).saturating_add(spare));
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.resize(PREFIX, 0);
    let times = &parts.times;
    bytes.extend_from_slice(&u32::from(parts.status).to_le_bytes());
    bytes.extend_from_slice(&times.flags.to_le_bytes());
    for word in [
        times.request_ms,
        times.response_ms,
        times.corrected_age_ms,
        times.lifetime_ms,
        times.swr_ms,
        times.sie_ms,
        times.usable_until_ms,
    ] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    put(&mut bytes, Some(parts.key));
    put_count(&mut bytes, selecting.len());
    for (name, value) in selecting {
        put(&mut bytes, Some(name));
        put(&mut bytes, value.as_deref());
    }
    put_count(&mut bytes, parts.tags.len());
    parts.tags.iter().for_each(|tag| put(&mut bytes, Some(tag)));
    put_count(&mut bytes, lines.len());
    for (name, value) in lines {
        put(&mut bytes, Some(name));
        put(&mut bytes, Some(value));
    }
    let head_end = bytes.len();
    let length = u32::try_from(head_end)
        .ok()
        .filter(|_| head_end <= MAX_HEAD)
        .ok_or(super::NotStored::HeadTooLarge)?;
    if let Some(place) = bytes.get_mut(20..24) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    Ok(Encoder {
        bytes,
        head_end,
        expected,
    })
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(0).to_le_bytes());
}

fn put(bytes: &mut Vec<u8>, text: Option<&[u8]>) {
    let length = text.map_or(ABSENT, |text| u32::try_from(text.len()).unwrap_or(ABSENT));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.unwrap_or_default());
}
