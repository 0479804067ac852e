//! A stored response as bytes (RFC 9111 section 3): versioned, checksummed, read in place.
//!
//! ```text
//! magic u32 | head checksum u64 | body checksum u64 | head length u32 | body length u64
//! fixed part of the head | key | selecting | tags | fields      each as counted strings
//! body
//! ```

use crate::Millis;
use crate::http::fields::{Line, is_sound};
use optimizer_proto::codes;
use xxhash_rust::xxh3::xxh3_64;

/// "ao", then the version of the format.
pub(super) const MAGIC: u32 = 0x616f_0002;
pub(super) const PREFIX: usize = 32;
pub(super) const FIXED: usize = 64;
/// Stands for a length that says "absent".
pub(super) const ABSENT: u32 = u32::MAX;

pub(super) const NO_CACHE: u32 = 1;
pub(super) const MUST_REVALIDATE: u32 = 2;
pub(super) const IMMUTABLE: u32 = 4;
pub(super) const GRANTED: u32 = 8;
pub(super) const FOR_ANY_ORIGIN: u32 = 16;

codes! {
    /// Why stored bytes are not a response; each is a miss.
    Corrupt {
        /// Shorter than its parts.
        Truncated = "stored-truncated",
        /// Written by another version of the format.
        Version = "stored-version",
        /// Head and checksum disagree.
        Head = "stored-head-corrupt",
        /// Body and checksum disagree.
        Body = "stored-body-corrupt",
    }
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

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at + 8)
        .and_then(|part| part.try_into().ok())
        .map(u64::from_le_bytes)
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
    checked: bool,
}

impl<'a> StoredView<'a> {
    /// Reads stored bytes. The head's checksum is always compared, the body's with `verify_body`.
    ///
    /// # Errors
    /// Why they are no stored response.
    pub fn decode(bytes: &'a [u8], verify_body: bool) -> Result<Self, Corrupt> {
        let (head, body) = Self::split(bytes)?;
        let word = |at: usize| u64_at(bytes, at);
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

    /// Reads stored bytes that were decoded before and have been in this VM's own memory since, and whose lines are
    /// [sound](Self::is_sound): nothing is checked again.
    ///
    /// # Errors
    /// Why they are no stored response.
    pub fn decode_again(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let (head, body) = Self::split(bytes)?;
        let view = Self::parse(bytes, head, body).ok_or(Corrupt::Head)?;
        Ok(Self { checked: true, ..view })
    }

    /// Head and body.
    fn split(bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Corrupt> {
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
        bytes.split_at_checked(head_end).ok_or(Corrupt::Truncated)
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
            checked: false,
        })
    }

    fn word(&self, index: usize) -> u64 {
        u64_at(self.bytes, PREFIX + 8 + index * 8).unwrap_or(0)
    }

    /// Whether it was [decoded again](Self::decode_again).
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// Whether every line may be sent as it is. What Envoy let through is sound; what was made by others must be asked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.fields().all(|(name, value)| is_sound(name, value))
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

    /// Not the origin, but a heuristic or the operator says that it may be reused without validation; or nobody does.
    #[must_use]
    pub fn granted(&self) -> bool {
        self.flag(GRANTED)
    }

    /// Known to be the same for requests with `Origin` and without.
    #[must_use]
    pub fn for_any_origin(&self) -> bool {
        self.flag(FOR_ANY_ORIGIN)
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
    use crate::cache::Encoder;
    use crate::cache::policy::FreshnessPolicy;
    use crate::cache::storability::{Exchange, Framing, judge};
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
            stated_freshness_only: false,
            hidden_credentials: false,
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
