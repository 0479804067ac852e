//! The cache key (RFC 9111 section 2): scheme, normalised host, path, query, and what the policy adds. Method-agnostic.

use super::policy::KeyPolicy;
use crate::http::fields::Fields;
use crate::http::target::Target;

/// A whole cache key. Compared byte by byte; its hash only finds a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    bytes: Vec<u8>,
    host: std::ops::Range<usize>,
    url_end: usize,
}

impl CacheKey {
    /// Builds the key of a request.
    #[must_use]
    pub fn new(policy: &KeyPolicy, target: &Target<'_>, request: &Fields<'_>) -> Self {
        let _ = (policy, target, request);
        Self {
            bytes: Vec::new(),
            host: 0..0,
            url_end: 0,
        }
    }

    /// The whole key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Normalised host, with a port unless it is the scheme's default.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.bytes.get(self.host.clone()).unwrap_or_default()
    }

    /// Path and what the policy left of the query.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.bytes.get(self.host.end..self.url_end).unwrap_or_default()
    }

    /// The URL part: scheme, host, path, query.
    #[must_use]
    pub fn url(&self) -> &[u8] {
        self.bytes.get(..self.url_end).unwrap_or_default()
    }

    /// A 64-bit hash (xxh3) of the whole key.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.bytes)
    }

    /// Host, path and URL of a stored key.
    #[must_use]
    pub fn parts(key: &[u8]) -> KeyParts<'_> {
        let _ = key;
        KeyParts::default()
    }
}

/// Parts of a key, as purges name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyParts<'a> {
    /// Normalised host.
    pub host: &'a [u8],
    /// Path and query.
    pub path: &'a [u8],
    /// Scheme, host, path, query.
    pub url: &'a [u8],
}
