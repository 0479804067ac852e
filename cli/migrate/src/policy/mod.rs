//! What the cache does in a location.

pub(crate) mod bypass;
pub(crate) mod conduct;
pub(crate) mod guard;
pub(crate) mod key;
pub(crate) mod lifetime;
pub(crate) mod request_fields;
pub(crate) mod stale;

use crate::Options;
use crate::nginx::tree::Directive;
use crate::report::{LocationId, Note, Notes};
use crate::scope::Scope;
use crate::variables::Variables;
use std::collections::{BTreeMap, BTreeSet};

/// What a route of the settings says about its cache. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caching {
    pub default_ttl: Option<u64>,
    pub ttl_override: Option<u64>,
    pub ttl_ceiling: Option<u64>,
    pub query: Query,
    pub key_headers: BTreeSet<String>,
    pub key_cookies: BTreeSet<String>,
    pub isolate_authorization: bool,
    pub stale_while_revalidate: Option<u64>,
    pub stale_if_error: Option<u64>,
    pub max_stale_on_outage: Option<u64>,
    pub strip_cookies: bool,
    pub credential_headers: BTreeSet<String>,
    /// The origin's own word on freshness is not heard, so that errors must not be stored by it.
    pub ignores_freshness: bool,
}

/// The query's part in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Query {
    #[default]
    All,
    None,
    Include(BTreeSet<String>),
}

/// A zone of `proxy_cache_path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// How long what nobody asks for is kept, milliseconds.
    pub inactive: u64,
    /// Memory for keys, bytes.
    pub keys: u64,
    /// Most bytes on disk.
    pub max_size: Option<u64>,
}

/// What all locations have in common.
pub(crate) struct Context<'a> {
    pub options: &'a Options,
    pub variables: &'a Variables,
    pub zones: &'a BTreeMap<String, Zone>,
}

/// A location that is looked at, and where to say what is found.
pub(crate) struct Look<'a, 'n> {
    pub context: &'a Context<'a>,
    pub scope: &'a Scope<'a>,
    /// What the location is for: a prefix, a path, an expression.
    pub pattern: &'a str,
    pub id: LocationId,
    pub notes: &'n mut Notes,
}

impl Look<'_, '_> {
    /// Says something about a directive for this location.
    pub(crate) fn note(&mut self, directive: &Directive, note: Note) {
        self.notes.add(directive, Some(self.id), note);
    }

    /// The same, if the location caches in the end.
    pub(crate) fn note_of_cache(&mut self, directive: &Directive, note: Note) {
        self.notes.add_of_cache(directive, self.id, note);
    }
}

/// A duration in words.
pub(crate) fn duration(ms: u64) -> String {
    optimizer_proto::settings::format_duration(ms)
}

/// What is said where nothing else would be true: the location is not cached.
pub(crate) fn not_cached(why: &str) -> String {
    format!("{why}; the route does not cache.")
}
