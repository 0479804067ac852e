//! Routes: what differs for a part of the traffic.

/// Most routes a document can have.
pub const MAX_ROUTES: usize = 256;

/// Which parts of the query belong to the cache key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QueryMode {
    /// The whole query as it stands.
    #[default]
    All,
    /// Nothing of it.
    None,
    /// Only the named parameters.
    Include,
    /// All but the named parameters.
    Exclude,
}

impl QueryMode {
    /// Every mode with its word in the document.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("all", Self::All),
        ("none", Self::None),
        ("include", Self::Include),
        ("exclude", Self::Exclude),
    ];

    /// The word in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

/// The part of the query in the cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// How `names` is meant.
    pub mode: QueryMode,
    /// Parameter names, case-sensitive, each once, at most 64; none unless the mode is include or exclude.
    pub names: Vec<String>,
}

/// Settings for the requests of one host and path prefix. `None` means: as for all routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique, 1 to 64 of `a-z 0-9 _ -`; the label in telemetry. `other` is taken: it is the label of requests without a route.
    pub name: String,
    /// Lower-case host, with its port if not the default one, or `*.suffix`, or `*` for every host.
    pub host: String,
    /// Beginning of the path, starting with `/`.
    pub path_prefix: String,
    /// False: responses are neither stored nor served from store.
    pub cache: bool,
    /// Freshness lifetime where the origin names none, ms, 0..=30 d.
    pub default_ttl_ms: Option<u64>,
    /// As [`super::Freshness::ttl_floor_ms`].
    pub ttl_floor_ms: Option<u64>,
    /// As [`super::Freshness::ttl_ceiling_ms`].
    pub ttl_ceiling_ms: Option<u64>,
    /// Freshness lifetime whatever the origin says, ms, 0..=30 d.
    pub ttl_override_ms: Option<u64>,
    /// The query's part in the cache key.
    pub key_query: KeyQuery,
    /// Lower-case names of request fields whose values belong to the cache key, each once, at most 16.
    pub key_headers: Vec<String>,
    /// True: the Authorization value belongs to the cache key, so that users never share a stored response.
    pub isolate_authorization: bool,
    /// True: Cache-Control and Pragma of the request are not obeyed.
    pub ignore_request_cache_control: bool,
    /// As [`super::Freshness::stale_while_revalidate_ms`].
    pub stale_while_revalidate_ms: Option<u64>,
    /// As [`super::Freshness::stale_if_error_ms`].
    pub stale_if_error_ms: Option<u64>,
    /// As [`super::Freshness::max_stale_on_outage_ms`].
    pub max_stale_on_outage_ms: Option<u64>,
    /// As [`super::Settings::max_object_size`].
    pub max_object_size: Option<u64>,
    /// True: the route has a breaker of its own beside those of other routes to the same upstream.
    pub breaker: bool,
}

impl Route {
    /// A route for all hosts and paths with nothing of its own.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            host: "*".to_owned(),
            path_prefix: "/".to_owned(),
            cache: true,
            default_ttl_ms: None,
            ttl_floor_ms: None,
            ttl_ceiling_ms: None,
            ttl_override_ms: None,
            key_query: KeyQuery::default(),
            key_headers: Vec::new(),
            isolate_authorization: false,
            ignore_request_cache_control: false,
            stale_while_revalidate_ms: None,
            stale_if_error_ms: None,
            max_stale_on_outage_ms: None,
            max_object_size: None,
            breaker: false,
        }
    }
}
