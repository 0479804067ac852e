//! The cache key (RFC 9111 section 2): scheme, normalised host, path, query, fields that tell another URL, what the policy adds, and where
//! Envoy sends the request.
//! Method-agnostic.

use super::content::ContentKey;
use super::forwarded;
use super::key_secret::KeySecret;
use super::key_text::push_text;
use super::lenient;
use super::policy::{KeyPolicy, QueryPolicy};
use super::search::Variance;
use crate::http::fields::{Fields, is_alias, trim};
use crate::http::target::{Target, push_authority};

/// A whole cache key. Compared byte by byte; its hash only finds a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    bytes: Vec<u8>,
    host: std::ops::Range<usize>,
    url_end: usize,
    hash: u64,
}

/// Room for what [`CacheKey::routed`] usually adds.
const ROUTED: usize = 72;
/// What stands before it. No value of a request has a NUL in it.
const MARK: &[u8] = b"\0\x03";

/// What stands, behind the URL, before the parameters of the query that make no difference.
const SEARCH: &[u8] = b"\0search=";

/// What stands before the digest of a head, which is the last part of a key.
const HEAD: &[u8] = b"\0head=";

/// What decides, besides the URL, where and how a request leaves Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Routing<'a> {
    /// Envoy's cluster.
    pub cluster: &'a [u8],
    /// Name of Envoy's route; empty where it has none.
    pub route: &'a [u8],
    /// The authority as received. Envoy chooses the route by it, and the origin sees it.
    pub authority: &'a [u8],
    /// See [`crate::engine::CacheRequest::claimed_scheme`].
    pub claimed_scheme: Option<&'a [u8]>,
    /// What the request's content adds.
    pub content: Option<&'a ContentKey>,
    /// Digest of the request's head, where the route has no name to tell it by.
    pub head: Option<&'a str>,
}

impl CacheKey {
    /// Adds what was routed. Of the authority only what the normalised one does not say.
    #[must_use]
    pub fn routed(mut self, routing: &Routing<'_>) -> Self {
        self.bytes.extend_from_slice(MARK);
        self.bytes.extend_from_slice(routing.cluster);
        self.bytes.push(0);
        self.bytes.extend_from_slice(routing.route);
        if !routing.authority.eq_ignore_ascii_case(self.host()) {
            self.bytes.extend_from_slice(b"\0authority=");
            self.bytes.extend(routing.authority.iter().map(u8::to_ascii_lowercase));
        }
        if let Some(scheme) = routing.claimed_scheme {
            self.bytes.extend_from_slice(b"\0scheme=");
            self.bytes.extend_from_slice(scheme);
        }
        if let Some(content) = routing.content {
            self.bytes.extend_from_slice(b"\0content=");
            self.bytes.extend_from_slice(content.as_bytes());
        }
        if let Some(head) = routing.head {
            self.bytes.extend_from_slice(HEAD);
            self.bytes.extend_from_slice(head.as_bytes());
        }
        self.hash = xxhash_rust::xxh3::xxh3_64(&self.bytes);
        self
    }

    /// The key under which a response is stored that answers all equivalent queries; `None` where the query is none of which that can be said.
    #[must_use]
    pub fn searched(&self, variance: &Variance) -> Option<Self> {
        let (path, query) = split_query(self.path());
        let form = variance.form(query)?;
        let before = self.bytes.get(..self.host.end)?;
        let mut bytes = Vec::with_capacity(self.bytes.len() + ROUTED);
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&form);
        let url_end = bytes.len();
        bytes.extend_from_slice(SEARCH);
        bytes.extend_from_slice(&variance.text());
        bytes.extend_from_slice(self.bytes.get(self.url_end..)?);
        Some(Self {
            hash: xxhash_rust::xxh3::xxh3_64(&bytes),
            bytes,
            host: self.host.clone(),
            url_end,
        })
    }

    /// Whether a stored key is one of [`CacheKey::searched`].
    #[must_use]
    pub fn is_searched(key: &[u8]) -> bool {
        let url = Self::parts(key).url;
        key.get(url.len()..).is_some_and(|rest| rest.starts_with(SEARCH))
    }

    /// The stored key, where it is this one with the digest of a head.
    #[must_use]
    pub fn with_head_of(&self, stored: &[u8]) -> Option<Self> {
        let digest = stored.strip_prefix(self.bytes.as_slice())?.strip_prefix(HEAD)?;
        let plain = digest.iter().all(u8::is_ascii_alphanumeric);
        plain.then(|| Self {
            bytes: stored.to_vec(),
            hash: xxhash_rust::xxh3::xxh3_64(stored),
            ..self.clone()
        })
    }

    /// Whether a stored key says where its request was sent.
    #[must_use]
    pub fn is_routed(key: &[u8]) -> bool {
        key.windows(MARK.len()).any(|part| part == MARK)
    }

    /// A stored key without where its request was sent.
    #[must_use]
    pub fn without_destination(key: &[u8]) -> &[u8] {
        let end = key.windows(MARK.len()).position(|part| part == MARK);
        key.get(..end.unwrap_or(key.len())).unwrap_or_default()
    }

    /// Whether a name of a cluster or route can stand in a key: no byte that separates parts of it.
    #[must_use]
    pub fn may_hold(name: &[u8]) -> bool {
        !name.iter().any(|byte| *byte < 0x20)
    }

    /// Builds the key of a request, without where it was routed. Credentials in it are hashed under the secret.
    #[must_use]
    pub fn new(policy: &KeyPolicy, target: &Target<'_>, request: &Fields<'_>, secret: &KeySecret) -> Self {
        let mut key = Self::unhashed(policy, target, request, secret);
        key.hash = xxhash_rust::xxh3::xxh3_64(&key.bytes);
        key
    }

    /// As [`CacheKey::new`] and [`CacheKey::routed`] together.
    #[must_use]
    pub fn of_routed(
        policy: &KeyPolicy,
        target: &Target<'_>,
        request: &Fields<'_>,
        secret: &KeySecret,
        routing: &Routing<'_>,
    ) -> Self {
        Self::unhashed(policy, target, request, secret).routed(routing)
    }

    fn unhashed(policy: &KeyPolicy, target: &Target<'_>, request: &Fields<'_>, secret: &KeySecret) -> Self {
        let scheme: &[u8] = if target.scheme.eq_ignore_ascii_case(b"https") {
            b"https"
        } else {
            b"http"
        };
        let mut bytes = Vec::with_capacity(scheme.len() + target.authority.len() + target.path.len() + ROUTED);
        bytes.extend_from_slice(scheme);
        bytes.extend_from_slice(b"://");
        let host_start = bytes.len();
        push_authority(&mut bytes, scheme, target.authority);
        let host = host_start..bytes.len();
        push_path(&mut bytes, target.path, &policy.query);
        let url_end = bytes.len();
        forwarded::push(&mut bytes, target.path, request);
        for name in &policy.headers {
            push_header(&mut bytes, name, request);
        }
        if !policy.cookies.is_empty() {
            push_cookies(&mut bytes, &policy.cookies, request, secret);
        }
        if policy.isolate_authorization {
            bytes.extend_from_slice(b"\0authorization\x02");
            // A digest: the key is shown to operators and stored, a credential must not be.
            let digest = secret.digest(b"authorization", request.all(b"authorization"));
            bytes.extend_from_slice(digest.as_ref().map_or(&[], <[u8; 16]>::as_slice));
        }
        Self {
            bytes,
            host,
            url_end,
            hash: 0,
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
        self.hash
    }

    /// Whether a stored key may hold the digest of a credential: a place for one is in it.
    #[must_use]
    pub fn holds_identity(key: &[u8]) -> bool {
        key.contains(&2)
    }

    /// Host, path and URL of a stored key.
    #[must_use]
    pub fn parts(key: &[u8]) -> KeyParts<'_> {
        let end = key.iter().position(|byte| *byte < 3).unwrap_or(key.len());
        let url = key.get(..end).unwrap_or_default();
        let start = url.windows(3).position(|part| part == b"://").map_or(0, |at| at + 3);
        let rest = url.get(start..).unwrap_or_default();
        let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        KeyParts {
            host: rest.get(..slash).unwrap_or_default(),
            path: rest.get(slash..).unwrap_or_default(),
            url,
        }
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

/// A path, and its query without the `?`.
fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let (path, query) = path.split_at(at);
    (path, query.get(1..).unwrap_or_default())
}

/// All lines of a field. Those that a CGI application takes for the same field, as `x_tenant` for `x-tenant`, belong to it as well.
fn push_header(bytes: &mut Vec<u8>, name: &[u8], request: &Fields<'_>) {
    bytes.push(0);
    bytes.extend_from_slice(name);
    for (line, value) in request.iter() {
        let alias = is_alias(line, name);
        if alias || line == name {
            bytes.push(1);
            bytes.extend_from_slice(if alias { b"\x03=" } else { b"" });
            push_text(bytes, trim(value));
        }
    }
}

/// Digests of the named cookies (RFC 6265 section 4.2.1): a session cookie is a credential.
fn push_cookies(bytes: &mut Vec<u8>, names: &[Vec<u8>], request: &Fields<'_>, secret: &KeySecret) {
    // One line: a quoted string that is open at the end of one goes on in the next.
    let line = request.all(b"cookie").collect::<Vec<_>>().join(&b"; "[..]);
    for name in names {
        bytes.push(0);
        bytes.extend_from_slice(name);
        if let Some(digest) = secret.digest(name, cookies(&line, name)) {
            bytes.push(2);
            bytes.extend_from_slice(&digest);
        }
    }
}

/// The pairs that some server may take for the cookie of this name, whole and trimmed. Of a pair that opens a quoted string the rest of
/// the line is part: servers do not agree on where it ends.
fn cookies<'a>(line: &'a [u8], name: &'a Vec<u8>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
            let pair = line.get(..end).unwrap_or_default();
            rest = line.get(end + 1..);
            // Blank: no cookie.
            if pair.trim_ascii().is_empty() || !lenient::mentions(pair, b",;", std::slice::from_ref(name)) {
                continue;
            }
            if pair.iter().filter(|byte| **byte == b'"').count() % 2 == 0 {
                return Some(pair.trim_ascii());
            }
            rest = None;
            return Some(line.trim_ascii());
        }
    })
}

fn push_path(bytes: &mut Vec<u8>, path: &[u8], policy: &QueryPolicy) {
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let at = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let (path_only, query) = path.split_at(at);
    match policy {
        QueryPolicy::All => push_text(bytes, path),
        QueryPolicy::None => push_text(bytes, path_only),
        QueryPolicy::Include(names) => push_query(bytes, path_only, query, |parameter| {
            lenient::mentions(parameter, b"&;", names)
        }),
        QueryPolicy::Exclude(names) => push_query(bytes, path_only, query, |parameter| {
            !lenient::is_exactly(parameter, names)
        }),
    }
}

fn push_query(bytes: &mut Vec<u8>, path: &[u8], query: &[u8], keep: impl Fn(&[u8]) -> bool) {
    push_text(bytes, path);
    let mut separator = b'?';
    for parameter in query
        .get(1..)
        .unwrap_or_default()
        .split(|byte| *byte == b'&')
        .filter(|parameter| keep(parameter))
    {
        if !parameter.is_empty() {
            bytes.push(separator);
            push_text(bytes, parameter);
            separator = b'&';
        }
    }
}

#[cfg(test)]
mod tests;
