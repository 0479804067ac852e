//! A stored response as bytes (RFC 9111 section 3): versioned, checksummed, read in place.
//!
//! ```text
//! magic u32 | head checksum u64 | body checksum u64 | head length u32 | body length u64
//! fixed part of the head | key | selecting | tags | fields      each as counted strings
//! body
//! ```

use super::hop_by_hop::is_not_stored;
use super::selecting::normalised;
use super::storability::{Exchange, Framing, Plan};
use crate::Millis;
use crate::http::fields::Line;
use xxhash_rust::xxh3::xxh3_64;

/// "ao", then the version of the format.
const MAGIC: u32 = 0x616f_0001;
const PREFIX: usize = 32;
const FIXED: usize = 64;
/// Largest head the format holds.
const MAX_HEAD: usize = 16 << 20;
/// Stands for a length that says "absent".
const ABSENT: u32 = u32::MAX;

const NO_CACHE: u32 = 1;
const MUST_REVALIDATE: u32 = 2;
const IMMUTABLE: u32 = 4;

/// Why stored bytes are not a response; each is a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Corrupt {
    /// Shorter than its parts.
    Truncated,
    /// Written by another version of the format.
    Version,
    /// Head and checksum disagree.
    Head,
    /// Body and checksum disagree.
    Body,
}

impl Corrupt {
    /// Stable code, kebab-case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Truncated => "stored-truncated",
            Self::Version => "stored-version",
            Self::Head => "stored-head-corrupt",
            Self::Body => "stored-body-corrupt",
        }
    }
}

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
                | flag(plan.immutable, IMMUTABLE),
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
    let room = PREFIX + FIXED + parts.key.len() + text + 256;
    let mut bytes = Vec::with_capacity(room.saturating_add(body_hint).saturating_add(spare));
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

/// Reads counted strings; anything that does not fit ends the reading.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn count(&mut self) -> Option<u32> {
        let (word, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        word.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.count()?;
        if length == ABSENT {
            return Some(None);
        }
        let (text, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(Some(text))
    }

    fn pair(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let name = self.text()??;
        Some((name, self.text()?))
    }
}

/// A stored response, read in place.
#[derive(Debug, Clone, Copy)]
pub struct StoredView<'a> {
    bytes: &'a [u8],
    key: &'a [u8],
    selecting: Reader<'a>,
    selecting_count: u32,
    tags: Reader<'a>,
    tag_count: u32,
    lines: Reader<'a>,
    line_count: u32,
    body: &'a [u8],
}

impl<'a> StoredView<'a> {
    /// Reads stored bytes. The head's checksum is always compared, the body's with `verify_body`.
    ///
    /// # Errors
    /// Why they are no stored response.
    pub fn decode(bytes: &'a [u8], verify_body: bool) -> Result<Self, Corrupt> {
        let word = |at: usize| {
            bytes
                .get(at..at + 8)
                .and_then(|part| part.try_into().ok())
                .map(u64::from_le_bytes)
        };
        let magic = bytes
            .get(..4)
            .and_then(|part| part.try_into().ok())
            .map(u32::from_le_bytes);
        match magic {
            Some(MAGIC) => {}
            Some(_) => return Err(Corrupt::Version),
            None => return Err(Corrupt::Truncated),
        }
        let head_end = bytes
            .get(20..24)
            .and_then(|part| part.try_into().ok())
            .map(u32::from_le_bytes);
        let head_end = head_end
            .and_then(|end| usize::try_from(end).ok())
            .ok_or(Corrupt::Truncated)?;
        let (head, body) = bytes.split_at_checked(head_end).ok_or(Corrupt::Truncated)?;
        if word(4) != head.get(12..).map(xxh3_64) {
            return Err(Corrupt::Head);
        }
        if word(24).and_then(|length| usize::try_from(length).ok()) != Some(body.len()) {
            return Err(Corrupt::Truncated);
        }
        if verify_body && word(12) != Some(xxh3_64(body)) {
            return Err(Corrupt::Body);
        }
        Self::parse(bytes, head, body).ok_or(Corrupt::Head)
    }

    fn parse(bytes: &'a [u8], head: &'a [u8], body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader {
            rest: head.get(PREFIX + FIXED..)?,
        };
        let key = reader.text()??;
        let selecting_count = reader.count()?;
        let selecting = reader;
        for _ in 0..selecting_count {
            reader.pair()?;
        }
        let tag_count = reader.count()?;
        let tags = reader;
        for _ in 0..tag_count {
            reader.text()?;
        }
        let line_count = reader.count()?;
        Some(Self {
            bytes,
            key,
            selecting,
            selecting_count,
            tags,
            tag_count,
            lines: reader,
            line_count,
            body,
        })
    }

    fn word(&self, index: usize) -> u64 {
        let at = PREFIX + 8 + index * 8;
        self.bytes
            .get(at..at + 8)
            .and_then(|part| part.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }

    fn flag(&self, bit: u32) -> bool {
        let flags = self
            .bytes
            .get(PREFIX + 4..PREFIX + 8)
            .and_then(|part| part.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        flags & bit != 0
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The whole cache key; the caller compares it.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.bytes
            .get(PREFIX..PREFIX + 2)
            .and_then(|part| part.try_into().ok())
            .map_or(0, u16::from_le_bytes)
    }

    /// Stored field lines in order.
    pub fn fields(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut reader = self.lines;
        (0..self.line_count)
            .map_while(move |_| reader.pair())
            .map(|(name, value)| (name, value.unwrap_or_default()))
    }

    /// Value of the first line with this lower-case name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.fields().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Names of the selecting fields and the request's normalised values of them (`None` = was absent).
    pub fn selecting(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = self.selecting;
        (0..self.selecting_count).map_while(move |_| reader.pair())
    }

    /// Purge tags and groups.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = self.tags;
        (0..self.tag_count).map_while(move |_| reader.text().flatten())
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Current age (RFC 9111 section 4.2.3).
    #[must_use]
    pub fn age_ms(&self, now_ms: Millis) -> Millis {
        self.word(2)
            .saturating_add(now_ms.saturating_sub(self.response_time_ms()))
    }

    /// Freshness lifetime.
    #[must_use]
    pub fn lifetime_ms(&self) -> Millis {
        self.word(3)
    }

    /// Window of `stale-while-revalidate`.
    #[must_use]
    pub fn stale_while_revalidate_ms(&self) -> Millis {
        self.word(4)
    }

    /// Window of `stale-if-error`.
    #[must_use]
    pub fn stale_if_error_ms(&self) -> Millis {
        self.word(5)
    }

    /// Not to be reused without validation.
    #[must_use]
    pub fn no_cache(&self) -> bool {
        self.flag(NO_CACHE)
    }

    /// Never to be reused stale.
    #[must_use]
    pub fn must_revalidate(&self) -> bool {
        self.flag(MUST_REVALIDATE)
    }

    /// Does not change while fresh (RFC 8246).
    #[must_use]
    pub fn immutable(&self) -> bool {
        self.flag(IMMUTABLE)
    }

    /// When the request for it was sent.
    #[must_use]
    pub fn request_time_ms(&self) -> Millis {
        self.word(0)
    }

    /// When it came.
    #[must_use]
    pub fn response_time_ms(&self) -> Millis {
        self.word(1)
    }

    /// Last moment of any use.
    #[must_use]
    pub fn usable_until_ms(&self) -> Millis {
        self.word(6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::FreshnessPolicy;
    use crate::cache::storability::judge;
    use crate::http::fields::Fields;
    use crate::http::method::Method;

    fn sealed(body: &[u8], length: u64) -> Option<Vec<u8>> {
        let request = Fields::from(vec![(&b"accept"[..], &b"text/html"[..])]);
        let response = Fields::from(vec![
            (&b":status"[..], &b"200"[..]),
            (b"cache-control", b"max-age=60"),
            (b"vary", b"accept, x-none"),
            (b"x-bytes", b"\xff\xfe"),
            (b"cache-tag", b"t1, t2"),
            (b"connection", b"x-hop"),
            (b"x-hop", b"1"),
        ]);
        let exchange = Exchange {
            method: Method::Get,
            request: &request,
            status: 200,
            response: &response,
            request_time_ms: 1_000,
            response_time_ms: 2_000,
            framing: Framing::Length(length),
            identity_in_key: false,
        };
        let plan = judge(&exchange, &FreshnessPolicy::default(), 0).unwrap();
        let mut encoder = Encoder::begin(b"the key", &exchange, &plan, body.len(), 32).unwrap();
        body.chunks(3).for_each(|chunk| encoder.append(chunk));
        encoder.seal()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = sealed(b"hello", 5).unwrap();
        let view = StoredView::decode(&bytes, true).unwrap();
        assert_eq!(
            (view.key(), view.status(), view.body()),
            (&b"the key"[..], 200, &b"hello"[..])
        );
        assert_eq!(
            view.fields().map(|(name, _)| name).collect::<Vec<_>>(),
            [&b"cache-control"[..], b"vary", b"x-bytes", b"cache-tag"]
        );
        assert_eq!(
            view.selecting().collect::<Vec<_>>(),
            [(&b"accept"[..], Some(&b"text/html"[..])), (b"x-none", None)]
        );
        assert_eq!(view.tags().collect::<Vec<_>>(), [&b"t1"[..], b"t2"]);
        assert_eq!((view.lifetime_ms(), view.age_ms(5_000)), (60_000, 4_000));
    }

    #[test]
    fn a_body_of_another_length_is_not_sealed() {
        assert!(sealed(b"hello", 6).is_none());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = sealed(b"hello", 5).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(StoredView::decode(&flipped, true).is_err(), "byte {at}");
            assert!(StoredView::decode(&bytes[..at], true).is_err(), "cut at {at}");
        }
    }
}
