//! The shared cache tier's order of purges: which stored responses may still be handed out.
//!
//! Every purge has a place in one order, and a response carries the place at which its fetch began. One that concerns it and
//! comes later makes it unusable, whenever it was written: a late write cannot undo a purge.

mod order;

pub use order::{MAX_FENCE_AGE_MS, MAX_LIFE_MS};

use crate::purges::Target;
use optimizer_proto::purge::{PurgeTarget, Stored, names_of_tag};
use optimizer_proto::url;
use optimizer_proto::v1::{Fence as WireFence, TierSubject, tier_subject::Kind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Subjects remembered apart; beyond that everything stored so far is purged as a whole.
pub const MAX_SUBJECTS: usize = 50_000;
/// Longest path prefix that is told apart; a longer one is cut and purges more, not less.
const MAX_PREFIX: usize = 1_024;

/// A place in the order of purges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Milliseconds, of the tier's clock.
    pub ms: u64,
    /// Place within the millisecond.
    pub sequence: u64,
}

impl Fence {
    /// Reads `ms-sequence`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ms, sequence) = text.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }

    /// The place after this one, at a time.
    #[must_use]
    pub fn next(self, now_ms: u64) -> Self {
        if now_ms > self.ms {
            Self {
                ms: now_ms,
                sequence: 0,
            }
        } else {
            Self {
                ms: self.ms,
                sequence: self.sequence.saturating_add(1),
            }
        }
    }
}

impl std::fmt::Display for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

impl From<WireFence> for Fence {
    fn from(wire: WireFence) -> Self {
        Self {
            ms: wire.ms,
            sequence: wire.sequence,
        }
    }
}

impl From<Fence> for WireFence {
    fn from(fence: Fence) -> Self {
        Self {
            ms: fence.ms,
            sequence: fence.sequence,
        }
    }
}

/// What a purge makes unusable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Subject {
    /// Everything.
    All,
    /// One host.
    Host {
        /// Normalised.
        host: String,
    },
    /// Paths that begin so.
    Prefix {
        /// Normalised; empty for every host.
        host: String,
        /// First characters of the path.
        path: String,
    },
    /// A tag or cache group.
    Tag {
        /// Normalised; empty for every host.
        host: String,
        /// The tag.
        tag: String,
    },
    /// One URL, whatever its query.
    Url {
        /// Normalised.
        host: String,
        /// Path without query.
        path: String,
    },
}

impl Subject {
    /// What an operator's target means here. Never less than the target: what does not read as it should means everything.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        match target.meant() {
            PurgeTarget::All => Self::All,
            PurgeTarget::Host(host) => Self::Host { host: text(&host) },
            PurgeTarget::Tag { host, tag } => Self::Tag {
                host: text(&host),
                tag: text(&tag),
            },
            PurgeTarget::Prefix { host, path } => Self::Prefix {
                host: text(&host),
                path: text(cut(&path)),
            },
            PurgeTarget::Url { host, path } | PurgeTarget::Path { host, path } => Self::Url {
                host: without_port(&text(&host)).to_owned(),
                path: text(url::without_query(&path)),
            },
        }
    }

    /// As it is compared: one of an earlier version may have been written otherwise.
    fn canonical(&self) -> Self {
        let host_of = |host: &str| text(&url::host(host.as_bytes()));
        match self {
            Self::All => Self::All,
            Self::Host { host } => Self::Host { host: host_of(host) },
            Self::Prefix { host, path } => Self::Prefix {
                host: host_of(host),
                path: text(cut(&url::prefix(path.as_bytes()))),
            },
            Self::Tag { host, tag } => Self::Tag {
                host: host_of(host),
                tag: tag.clone(),
            },
            Self::Url { host, path } => Self::Url {
                host: without_port(&host_of(host)).to_owned(),
                path: text(url::without_query(&url::path(path.as_bytes()))),
            },
        }
    }

    /// A filter's subject.
    #[must_use]
    pub fn of_wire(wire: &TierSubject) -> Self {
        let (host, value) = (wire.host.clone(), wire.value.clone());
        match wire.kind() {
            Kind::Host => Self::Host { host }.canonical(),
            Kind::Prefix => Self::Prefix { host, path: value }.canonical(),
            Kind::Tag => Self::Tag { host, tag: value }.canonical(),
            Kind::Url => Self::Url { host, path: value }.canonical(),
            // One that this version does not know may mean anything.
            Kind::All | Kind::Unspecified => Self::All,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cut(path: &[u8]) -> &[u8] {
    path.get(..MAX_PREFIX).unwrap_or(path)
}

/// A port may be written where the key has none, and the other way round.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What purges are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Host, as the key or in canonical form.
    pub host: &'a str,
    /// Path and query, likewise.
    pub path: &'a str,
    /// Tags and groups.
    pub tags: &'a [String],
}

/// How far the order of purges is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Every purge up to here.
    pub read: Fence,
    /// The newest single one, behind which there may be others that nobody has read here.
    pub newest: Fence,
}

/// All purges, as far as they are known here.
#[derive(Debug, Clone, Default)]
pub struct PurgeTable {
    known: Known,
    everything: Fence,
    hosts: HashMap<String, Fence>,
    prefixes: HashMap<(String, String), Fence>,
    lengths: BTreeSet<usize>,
    tags: HashMap<(String, String), Fence>,
    urls: HashMap<(String, String), Fence>,
}

impl PurgeTable {
    /// The place up to which every purge is known.
    #[must_use]
    pub fn last(&self) -> Fence {
        self.known.read
    }

    /// How far the order is known.
    #[must_use]
    pub fn known(&self) -> Known {
        self.known
    }

    /// Takes in the next purge of the order. One that is known changes nothing.
    pub fn record(&mut self, fence: Fence, subject: &Subject) {
        self.known.read = self.known.read.max(fence);
        self.note(fence, subject);
    }

    /// Adds a purge of this replica, wherever it is in the order: between the last one read and this one other replicas
    /// may have written theirs.
    pub fn note(&mut self, fence: Fence, subject: &Subject) {
        self.known.newest = self.known.newest.max(fence);
        if self.subjects() >= MAX_SUBJECTS {
            self.record_all(fence);
            return;
        }
        let place = match subject.canonical() {
            Subject::All => return self.record_all(fence),
            Subject::Host { host } => self.hosts.entry(host).or_default(),
            Subject::Prefix { host, path } => {
                self.lengths.insert(path.len());
                self.prefixes.entry((host, path)).or_default()
            }
            Subject::Tag { host, tag } => self.tags.entry((host, tag)).or_default(),
            Subject::Url { host, path } => self.urls.entry((host, path)).or_default(),
        };
        *place = (*place).max(fence);
    }

    fn record_all(&mut self, fence: Fence) {
        self.everything = self.everything.max(fence);
        let since = self.everything;
        self.hosts.retain(|_, place| *place > since);
        self.prefixes.retain(|_, place| *place > since);
        self.tags.retain(|_, place| *place > since);
        self.urls.retain(|_, place| *place > since);
        self.lengths = self.prefixes.keys().map(|(_, path)| path.len()).collect();
    }

    fn subjects(&self) -> usize {
        self.hosts.len() + self.prefixes.len() + self.tags.len() + self.urls.len()
    }

    /// Whether a response whose fetch began at `fence` has been purged since.
    #[must_use]
    pub fn purged(&self, fence: Fence, parts: &Parts<'_>) -> bool {
        if fence >= self.known.newest {
            return false;
        }
        let since = |place: Option<&Fence>| place.is_some_and(|place| *place > fence);
        let stored = Stored::new(parts.host.as_bytes(), parts.path.as_bytes());
        let (host, path) = (text(stored.host()), text(stored.path()));
        let path_only = text(url::without_query(stored.path()));
        let any = String::new();
        self.everything > fence
            || since(self.hosts.get(&host))
            || since(self.urls.get(&(without_port(&host).to_owned(), path_only)))
            || self.lengths.iter().any(|length| {
                path.get(..*length).is_some_and(|prefix| {
                    since(self.prefixes.get(&(any.clone(), prefix.to_owned())))
                        || since(self.prefixes.get(&(host.clone(), prefix.to_owned())))
                })
            })
            || parts.tags.iter().any(|tag| {
                names_of_tag(tag.as_bytes()).map(text).any(|name| {
                    since(self.tags.get(&(any.clone(), name.clone()))) || since(self.tags.get(&(host.clone(), name)))
                })
            })
    }
}

#[cfg(test)]
mod tests;
