//! A stored response as bytes (RFC 9111 section 3): versioned, checksummed, read in place.

use super::storability::{Exchange, Plan};
use crate::Millis;
use crate::http::fields::Line;

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
        let _ = (key, exchange, plan);
        Ok(Self {
            bytes: Vec::with_capacity(body_hint.saturating_add(spare)),
        })
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
        0
    }

    /// Finishes the bytes. `None` when the body disagrees with the `Content-Length` the response had.
    #[must_use]
    pub fn seal(self) -> Option<Vec<u8>> {
        None
    }
}

/// A stored response, read in place.
#[derive(Debug, Clone, Copy)]
pub struct StoredView<'a> {
    bytes: &'a [u8],
}

impl<'a> StoredView<'a> {
    /// Reads stored bytes. The head's checksum is always compared, the body's with `verify_body`.
    ///
    /// # Errors
    /// Why they are no stored response.
    pub fn decode(bytes: &'a [u8], verify_body: bool) -> Result<Self, Corrupt> {
        let _ = (bytes, verify_body);
        Err(Corrupt::Version)
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The whole cache key; the caller compares it.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        &[]
    }

    /// Status.
    #[must_use]
    pub fn status(&self) -> u16 {
        0
    }

    /// Stored field lines in order.
    pub fn fields(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        std::iter::empty()
    }

    /// Value of the first line with this lower-case name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        let _ = name;
        None
    }

    /// Names of the selecting fields and the request's normalised values of them (`None` = was absent).
    pub fn selecting(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        std::iter::empty()
    }

    /// Purge tags and groups.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        std::iter::empty()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &[]
    }

    /// Current age (RFC 9111 section 4.2.3).
    #[must_use]
    pub fn age_ms(&self, now_ms: Millis) -> Millis {
        let _ = now_ms;
        0
    }

    /// Freshness lifetime.
    #[must_use]
    pub fn lifetime_ms(&self) -> Millis {
        0
    }

    /// When the request for it was sent.
    #[must_use]
    pub fn request_time_ms(&self) -> Millis {
        0
    }

    /// When it came.
    #[must_use]
    pub fn response_time_ms(&self) -> Millis {
        0
    }

    /// Last moment of any use.
    #[must_use]
    pub fn usable_until_ms(&self) -> Millis {
        0
    }
}
