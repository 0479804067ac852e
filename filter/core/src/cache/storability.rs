//! Storing responses (RFC 9111 section 3).

use super::age::InitialAge;
use super::freshness::Lifetime;
use super::policy::FreshnessPolicy;
use crate::Millis;
use crate::http::fields::Fields;
use crate::http::method::Method;

/// How the end of the content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, and the bytes must agree with it.
    Length(u64),
    /// Chunked or HTTP/2: the end is marked.
    Delimited,
    /// The connection's end, which a reset cannot be told from: never stored.
    Close,
    /// No content by definition (204, 304, answers to HEAD).
    Empty,
}

impl Framing {
    /// Framing of a response as Envoy shows it. `marked` says that the upstream speaks HTTP/2 or later.
    #[must_use]
    pub fn of(method: Method, status: u16, response: &Fields<'_>, marked: bool) -> Self {
        let _ = (method, status, response, marked);
        Self::Close
    }
}

/// A request and the head of its response.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// Of the request.
    pub method: Method,
    /// The client's request fields (not those added for validation).
    pub request: &'a Fields<'a>,
    /// Final status.
    pub status: u16,
    /// Of the response.
    pub response: &'a Fields<'a>,
    /// When the request was sent.
    pub request_time_ms: Millis,
    /// When the response head came.
    pub response_time_ms: Millis,
    /// How the content ends.
    pub framing: Framing,
    /// The key holds the identity (see [`super::policy::KeyPolicy::isolate_authorization`]), so `Authorization` does not
    /// forbid storing.
    pub identity_in_key: bool,
}

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// Method other than GET.
    Method,
    /// `no-store` in the request.
    RequestNoStore,
    /// `no-store` in the response.
    NoStore,
    /// `private`.
    Private,
    /// Status not final or not understood.
    Status,
    /// 206: part of a representation.
    Partial,
    /// 304 that freshens nothing stored here.
    NotModified,
    /// Answer to a request with `Authorization` and no permission.
    Authorization,
    /// `Vary: *`.
    VaryStar,
    /// No freshness, no validator: of no use.
    NoFreshness,
    /// Sets a cookie and has no explicit freshness.
    SetCookie,
    /// The content's end is not provable.
    UnprovableEnd,
    /// Head larger than the format holds.
    HeadTooLarge,
}

impl NotStored {
    /// Stable code, kebab-case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NotModified => "not-modified",
            Self::Authorization => "authorization",
            Self::VaryStar => "vary-star",
            Self::NoFreshness => "no-freshness",
            Self::SetCookie => "set-cookie",
            Self::UnprovableEnd => "unprovable-end",
            Self::HeadTooLarge => "head-too-large",
        }
    }
}

/// A response that may be stored, with everything computed that reuse needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Freshness lifetime.
    pub lifetime: Lifetime,
    /// Age inputs.
    pub age: InitialAge,
    /// Window after freshness, RFC 5861 section 3.
    pub stale_while_revalidate_ms: Millis,
    /// Window after freshness, RFC 5861 section 4.
    pub stale_if_error_ms: Millis,
    /// Not reused without validation.
    pub no_cache: bool,
    /// Never reused stale (`must-revalidate`, `proxy-revalidate`, `s-maxage`).
    pub must_revalidate: bool,
    /// RFC 8246.
    pub immutable: bool,
    /// Field names (lower-case) that `no-cache="…"` and `private="…"` exclude.
    pub excluded: Vec<Vec<u8>>,
    /// Sorted lower-case names of `Vary`.
    pub vary: Vec<Vec<u8>>,
    /// Purge tags and groups.
    pub tags: Vec<Vec<u8>>,
    /// Last moment of any use, for the store.
    pub usable_until_ms: Millis,
}

/// Decides whether a response is stored. `jitter` is any number; equal numbers shorten lifetimes equally.
///
/// # Errors
/// Why not.
pub fn judge(exchange: &Exchange<'_>, policy: &FreshnessPolicy, jitter: u64) -> Result<Plan, NotStored> {
    let _ = (exchange, policy, jitter);
    Err(NotStored::NoFreshness)
}
