//! `Cache-Status` (RFC 9211).

/// Name of this cache in the field.
pub const CACHE_NAME: &str = "api-optimizer";

/// Name of the shared tier in the field.
pub const TIER_NAME: &str = "api-optimizer-tier";

/// Why a request was forwarded (section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache is off for it.
    Bypass,
    /// The method is not answered from the cache.
    Method,
    /// Nothing stored under the key.
    UriMiss,
    /// Something stored, but for other selecting fields.
    VaryMiss,
    /// Nothing suitable, cause unknown.
    Miss,
    /// Fresh, but the request forbids its use.
    Request,
    /// Stale.
    Stale,
    /// Only parts of it stored.
    Partial,
}

impl Forward {
    /// The token of the field.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// This cache's member of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStatus<'a> {
    /// The shared tier had it: a cache of its own in the field, before this one.
    pub tier_hit: bool,
    /// Answered without forwarding.
    pub hit: bool,
    /// Remaining freshness in seconds, negative when stale.
    pub ttl_s: Option<i64>,
    /// Why forwarded.
    pub forward: Option<Forward>,
    /// Status of the forwarded request's answer, where it is not that of the response.
    pub forward_status: Option<u16>,
    /// The answer was stored.
    pub stored: bool,
    /// Forwarded together with others.
    pub collapsed: bool,
    /// Reason code, one of this crate's.
    pub detail: Option<&'a str>,
    /// The cache key, where an operator wants it shown.
    pub key: Option<&'a [u8]>,
}

impl CacheStatus<'_> {
    /// Writes the whole field value: what upstream caches said, then this member.
    pub fn write<'u>(&self, upstream: impl Iterator<Item = &'u [u8]>, out: &mut Vec<u8>) {
        for member in upstream.filter(|member| !member.is_empty()) {
            out.extend_from_slice(member);
            out.extend_from_slice(b", ");
        }
        if self.tier_hit {
            out.extend_from_slice(TIER_NAME.as_bytes());
            out.extend_from_slice(b"; hit, ");
        }
        out.extend_from_slice(CACHE_NAME.as_bytes());
        if self.hit {
            add(out, "hit");
        }
        if let Some(forward) = self.forward {
            add(out, "fwd=");
            out.extend_from_slice(forward.code().as_bytes());
        }
        if let Some(status) = self.forward_status {
            add(out, "fwd-status=");
            push_number(out, status);
        }
        if let Some(ttl) = self.ttl_s {
            add(out, "ttl=");
            push_number(out, ttl);
        }
        if self.stored {
            add(out, "stored");
        }
        if self.collapsed {
            add(out, "collapsed");
        }
        if let Some(key) = self.key {
            let shown: String = key
                .iter()
                .filter(|byte| (b' '..=b'~').contains(byte))
                .map(|byte| char::from(*byte))
                .collect();
            add(
                out,
                &format!("key=\"{}\"", shown.replace('\\', "\\\\").replace('"', "\\\"")),
            );
        }
        if let Some(detail) = self.detail {
            add(out, "detail=");
            out.extend_from_slice(detail.as_bytes());
        }
    }
}

fn add(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"; ");
    out.extend_from_slice(text.as_bytes());
}

fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
