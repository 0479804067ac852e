//! What the cache does in a location.

pub(crate) mod bypass;
pub(crate) mod conduct;
pub(crate) mod guard;
pub(crate) mod key;
pub(crate) mod lifetime;
pub(crate) mod request_fields;
pub(crate) mod stale;

use std::collections::BTreeSet;

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

/// What is said where nothing else would be true: the location is not cached.
pub(crate) fn not_cached(why: &str) -> String {
    format!("{why}; the route does not cache.")
}
