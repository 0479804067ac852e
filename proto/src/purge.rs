//! What a purge names, and whether a stored response is meant: one matcher for the filter, the purge log and the shared tier.

use crate::url;
use crate::v1::PurgeCommand;
use crate::v1::purge_command::Kind;
use std::borrow::Cow;

/// Begins the stored name of a cache group (RFC 9875).
pub const GROUP: &[u8] = b"group:";

/// What to purge, in canonical form; made by its functions alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PurgeTarget {
    /// Everything.
    All,
    /// One host, by both schemes.
    Host(Vec<u8>),
    /// All URLs whose path and query begin so.
    Prefix {
        /// Empty for every host.
        host: Vec<u8>,
        /// First bytes of path and query.
        path: Vec<u8>,
    },
    /// All responses with this tag, or in this cache group.
    Tag {
        /// Empty for every host.
        host: Vec<u8>,
        /// The tag.
        tag: Vec<u8>,
    },
    /// One URL, by both schemes.
    Url {
        /// Its host.
        host: Vec<u8>,
        /// Its path and query.
        path: Vec<u8>,
    },
    /// One path, whatever the query.
    Path {
        /// Its host.
        host: Vec<u8>,
        /// Without a query.
        path: Vec<u8>,
    },
}

impl PurgeTarget {
    /// Everything of a host.
    #[must_use]
    pub fn host(host: &[u8]) -> Self {
        Self::Host(url::host(host).into_owned())
    }

    /// What begins with a path on a host; on every host with an empty one.
    #[must_use]
    pub fn prefix(host: &[u8], path: &[u8]) -> Self {
        Self::Prefix {
            host: url::host(host).into_owned(),
            path: url::prefix(path).into_owned(),
        }
    }

    /// What has a tag on a host; on every host with an empty one.
    #[must_use]
    pub fn tag(host: &[u8], tag: &[u8]) -> Self {
        Self::Tag {
            host: url::host(host).into_owned(),
            tag: tag.to_vec(),
        }
    }

    /// One URL.
    #[must_use]
    pub fn url(host: &[u8], path: &[u8]) -> Self {
        Self::Url {
            host: url::host(host).into_owned(),
            path: url::without_empty_query(&url::path(path)).to_vec(),
        }
    }

    /// One path, whatever the query.
    #[must_use]
    pub fn path(host: &[u8], path: &[u8]) -> Self {
        Self::Path {
            host: url::host(host).into_owned(),
            path: url::without_query(&url::path(path)).to_vec(),
        }
    }

    /// Reads what a command or a caller names. What is not sound but clear is read all the same: it may have been accepted before.
    ///
    /// # Errors
    /// What would be right.
    pub fn read(kind: Kind, value: &str) -> Result<Self, &'static str> {
        let bytes = value.as_bytes();
        match kind {
            Kind::All => Ok(Self::All),
            Kind::Host => Ok(Self::host(bytes)),
            Kind::Prefix => {
                let (host, path) = split_prefix(bytes).ok_or("host/path")?;
                Ok(Self::prefix(host, path))
            }
            Kind::Tag => Ok(Self::tag(b"", bytes)),
            Kind::Url => {
                let (host, path) = url::split(bytes).ok_or("an absolute http or https URL")?;
                Ok(Self::url(host, path))
            }
            Kind::Unspecified => Err("what to purge"),
        }
    }

    /// What is wrong with what a caller names, if anything.
    #[must_use]
    pub fn fault(kind: Kind, value: &str) -> Option<&'static str> {
        const HOST: &str = "a host in ASCII (an international name as xn--…), without scheme and path";
        const PREFIX: &str = "host/path, without blanks";
        const URL: &str =
            "an absolute http or https URL with a host in ASCII (an international name as xn--…) and without blanks";
        const WILDCARD: &str =
            "no wildcard: name a host, or by prefix all that begins alike (an asterisk itself as %2A)";
        let bytes = value.as_bytes();
        if matches!(kind, Kind::Host | Kind::Prefix | Kind::Url) && has_wildcard(bytes) {
            return Some(WILDCARD);
        }
        let sound = |(host, path): (&[u8], &[u8])| url::is_authority(host) && url::is_unbroken(path);
        match kind {
            Kind::All => None,
            Kind::Host => (!url::is_authority(bytes)).then_some(HOST),
            Kind::Prefix => match split_prefix(bytes) {
                Some((b"", path)) if !has_scheme(bytes) && url::is_unbroken(path) => None,
                Some(parts) if sound(parts) => None,
                _ => Some(PREFIX),
            },
            Kind::Tag => (bytes.is_empty() || !url::is_unbroken(bytes)).then_some("a tag without blanks"),
            Kind::Url => (!url::split(bytes).is_some_and(sound)).then_some(URL),
            Kind::Unspecified => Some("what to purge"),
        }
    }

    /// The kind of a command, for what has none as it is.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of(command: &PurgeCommand) -> Result<Self, &'static str> {
        Self::read(command.kind(), &command.value)
    }

    /// Whether a stored response is meant.
    pub fn matches<'t>(&self, stored: &Stored<'_>, mut tags: impl Iterator<Item = &'t [u8]>) -> bool {
        let on = |host: &[u8]| host.is_empty() || host == &*stored.host;
        match self {
            Self::All => true,
            Self::Host(host) => *host == *stored.host,
            Self::Prefix { host, path } => {
                on(host) && (stored.path.starts_with(path) || path.contains(&b'?') && is_tagged(tags, path))
            }
            Self::Tag { host, tag } => on(host) && tags.any(|own| names_of_tag(own).any(|name| name == tag)),
            Self::Url { host, path } => {
                *host == *stored.host && (*path == url::without_empty_query(&stored.path) || is_tagged(tags, path))
            }
            Self::Path { host, path } => *host == *stored.host && *path == url::without_query(&stored.path),
        }
    }
}

/// Host and path of a stored response, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<'a> {
    host: Cow<'a, [u8]>,
    path: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// Of what its key has.
    #[must_use]
    pub fn new(host: &'a [u8], path: &'a [u8]) -> Self {
        Self {
            host: url::host(host),
            path: url::path(path),
        }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        &self.host
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

/// Longest path in a tag of [`search_tag`]; of a longer one the beginning stands for it.
const MAX_TAGGED: usize = 512;

/// The tag of a response that answers several queries of a path (`No-Vary-Search`). What purges one URL of the path purges all of them.
#[must_use]
pub fn search_tag(path: &[u8]) -> Vec<u8> {
    let path = url::without_query(path);
    [b"no-vary-search:", path.get(..MAX_TAGGED).unwrap_or(path)].concat()
}

fn is_tagged<'t>(mut tags: impl Iterator<Item = &'t [u8]>, path: &[u8]) -> bool {
    let tag = search_tag(path);
    tags.any(|own| own == tag)
}

/// The names by which a stored tag is purged: itself, and of a cache group also the name alone.
pub fn names_of_tag(tag: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::once(tag).chain(tag.strip_prefix(GROUP))
}

/// Whether a host, prefix or URL has an asterisk that elsewhere stands for anything. In a query only one at the end counts:
/// `?q=*&page=1` is usual.
#[must_use]
pub fn has_wildcard(value: &[u8]) -> bool {
    url::without_query(value).contains(&b'*') || value.ends_with(b"*")
}

fn has_scheme(value: &[u8]) -> bool {
    url::without_scheme(value).is_some()
}

/// `host/path`, also with a scheme in front; without a host the path holds for all.
fn split_prefix(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = url::without_scheme(value);
    let value = rest.unwrap_or(value);
    match value.iter().position(|byte| matches!(byte, b'/' | b'\\')) {
        Some(slash) => Some(value.split_at(slash)),
        None => rest.map(|host| (host, &b"/"[..])),
    }
}

#[cfg(test)]
mod tests;
