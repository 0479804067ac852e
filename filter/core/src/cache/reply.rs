//! The response made of a stored one: status, fields and content for GET and HEAD, conditions and ranges
//! (RFC 9111 section 4, RFC 9110 sections 13 and 14).

use super::reuse::Reuse;
use super::stored_response::StoredView;
use crate::Millis;
use crate::http::fields::Fields;
use crate::http::method::Method;
use std::borrow::Cow;

/// A response from the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Status.
    pub status: u16,
    /// Content; empty for HEAD and 304.
    pub body: Cow<'a, [u8]>,
    /// `Content-Length` to send: also where there is no content (HEAD); `None` for 304 and 204.
    pub content_length: Option<u64>,
    /// `Content-Range` to send.
    pub content_range: Option<Vec<u8>>,
    /// `Content-Type` to send in place of the stored one (multipart).
    pub content_type: Option<Vec<u8>>,
    /// `Age`, seconds.
    pub age_s: u64,
}

/// What a stored response answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// This.
    Reply(Reply<'a>),
    /// The client's condition can only be decided by the origin: forward.
    AskOrigin,
}

/// Builds the answer for a request from a stored response that may be reused. `boundary_seed`: any number, makes the multipart
/// boundary.
#[must_use]
pub fn build<'a>(
    stored: &StoredView<'a>,
    reuse: &Reuse,
    method: Method,
    request: &Fields<'_>,
    boundary_seed: u64,
    now_ms: Millis,
) -> Answer<'a> {
    let _ = (stored, reuse, method, request, boundary_seed, now_ms);
    Answer::AskOrigin
}

impl Reply<'_> {
    /// Hands every field line to send to `push`, `Age` and `Content-Length` included, `Cache-Status` not: the stored members
    /// of that are in [`StoredView::get`] and go through [`super::CacheStatus`].
    pub fn for_each_field(&self, stored: &StoredView<'_>, push: &mut dyn FnMut(&[u8], &[u8])) {
        let _ = (stored, push);
    }
}
