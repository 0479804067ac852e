//! The response made of a stored one: status, fields and content for GET and HEAD, conditions and ranges
//! (RFC 9111 section 4, RFC 9110 sections 13 and 14).

use super::groups;
use super::precondition::{self, Outcome, Validators};
use super::range::{self, Selection};
use super::reuse::Reuse;
use super::stored_response::StoredView;
use crate::Millis;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::structured::TARGETS;
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
    let validators = Validators {
        etag: stored.get(b"etag"),
        last_modified: stored.get(b"last-modified"),
        date: stored.get(b"date"),
        received_ms: stored.response_time_ms(),
    };
    let body = stored.body();
    let whole = Reply {
        status: stored.status(),
        body: Cow::Borrowed(if method == Method::Head { &[] } else { body }),
        content_length: (stored.status() != 204).then_some(body.len() as u64),
        content_range: None,
        content_type: None,
        age_s: reuse.age_s,
    };
    match stored.status() {
        200 => {}
        // A part answers a GET for that range; ranges mean nothing to other methods (RFC 9110 section 14.2).
        206 if method != Method::Get => return Answer::AskOrigin,
        206 => {}
        _ => return Answer::Reply(whole),
    }
    match precondition::evaluate(&validators, request, now_ms) {
        Outcome::AskOrigin => return Answer::AskOrigin,
        Outcome::NotModified => {
            return Answer::Reply(Reply {
                status: 304,
                body: Cow::Borrowed(&[]),
                content_length: None,
                ..whole
            });
        }
        Outcome::Proceed => {}
    }
    if method != Method::Get || stored.status() == 206 {
        return Answer::Reply(whole);
    }
    let length = body.len() as u64;
    match range::select(request, &validators, length, now_ms) {
        Selection::Whole => Answer::Reply(whole),
        Selection::Unsatisfiable => Answer::Reply(Reply {
            status: 416,
            body: Cow::Borrowed(&[]),
            content_length: Some(0),
            content_range: Some(format!("bytes */{length}").into_bytes()),
            ..whole
        }),
        Selection::Single(first, last) => {
            let part = slice(body, first, last);
            Answer::Reply(Reply {
                status: 206,
                body: Cow::Borrowed(part),
                content_length: Some(part.len() as u64),
                content_range: Some(format!("bytes {first}-{last}/{length}").into_bytes()),
                ..whole
            })
        }
        Selection::Multiple(parts) => {
            let boundary = format!("ao-{boundary_seed:016x}");
            let body = multipart(stored, &parts, &boundary);
            Answer::Reply(Reply {
                status: 206,
                content_length: Some(body.len() as u64),
                body: Cow::Owned(body),
                content_type: Some(format!("multipart/byteranges; boundary={boundary}").into_bytes()),
                ..whole
            })
        }
    }
}

fn slice(body: &[u8], first: u64, last: u64) -> &[u8] {
    let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
    body.get(at(first)..at(last).saturating_add(1)).unwrap_or_default()
}

/// RFC 9110 section 14.6.
fn multipart(stored: &StoredView<'_>, parts: &[(u64, u64)], boundary: &str) -> Vec<u8> {
    let body = stored.body();
    let mut out = Vec::new();
    for (first, last) in parts {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        if let Some(kind) = stored.get(b"content-type") {
            out.extend_from_slice(b"content-type: ");
            out.extend_from_slice(kind);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("content-range: bytes {first}-{last}/{}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(slice(body, *first, *last));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

impl Reply<'_> {
    /// Hands every field line to send to `push`, `Age` and `Content-Length` included, `Cache-Status` not: the stored members
    /// of that are in [`StoredView::get`] and go through [`super::CacheStatus`].
    pub fn for_each_field(&self, stored: &StoredView<'_>, push: &mut dyn FnMut(&[u8], &[u8])) {
        let partial = self.content_range.is_some() || self.content_type.is_some();
        for (name, value) in stored.fields() {
            let left_out = match name {
                b"cache-status" | b"age" | b"content-length" => true,
                // Of this one range. A cache behind us, which knows the URL alone, would give it to others as long as the content is fresh.
                b"cache-control" | b"expires" if self.status == 416 => true,
                _ if self.status == 416 && TARGETS.contains(&name) => true,
                b"content-type" => self.content_type.is_some() || (self.status == 416),
                b"content-range" => partial || self.status == 304,
                // They are of the content as it was stored (RFC 9530 section 2); `Repr-Digest` is of the representation.
                b"content-digest" | b"content-md5" => partial || self.status == 304,
                // RFC 9110 section 15.4.5: a 304 carries what a cache needs, not what describes the content.
                b"content-encoding" | b"content-language" => self.status == 304,
                _ => groups::is_tag_field(name),
            };
            if !(left_out || self.status == 304 && name == b"content-type") {
                push(name, value);
            }
        }
        if let Some(kind) = &self.content_type {
            push(b"content-type", kind);
        }
        if let Some(range) = &self.content_range {
            push(b"content-range", range);
        }
        if let Some(length) = self.content_length {
            push(b"content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        push(b"age", itoa::Buffer::new().format(self.age_s).as_bytes());
    }
}
