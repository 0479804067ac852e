//! Routes: what differs for a part of the traffic.

use serde_json::{Map, Value, json};

use super::ViolationCode;
use super::duration::format_duration;
use super::freshness::MAX_TTL_MS;
use super::names;
use super::reader::{Findings, ObjectReader, Outcome, Problem, Reading};
use super::sharing::SetCookie;
use super::size::format_size;

/// Most routes a document can have.
pub const MAX_ROUTES: usize = 256;
const MAX_QUERY_NAMES: usize = 64;
const MAX_KEY_HEADERS: usize = 16;

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
    /// Unique, 1 to 64 of `a-z 0-9 _ -`; the label in telemetry. `other` is taken: it is the label of requests without
    /// a route.
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
    /// Names of cookies whose values belong to the cache key, each once, at most 16.
    pub key_cookies: Vec<String>,
    /// Name of the upstream that requests of the route go to, where the control plane generates Envoy's routes; `None` = the
    /// first one.
    pub upstream: Option<String>,
    /// True: the route has a breaker of its own beside those of other routes to the same upstream.
    pub breaker: bool,
    /// What becomes of responses that set cookies.
    pub set_cookie: SetCookie,
    /// True: freshness that the origin did not give also applies to requests with credentials.
    pub share_with_credentials: bool,
    /// As [`super::Settings::credential_headers`], for this route besides those.
    pub credential_headers: Vec<String>,
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
            key_cookies: Vec::new(),
            upstream: None,
            breaker: false,
            set_cookie: SetCookie::default(),
            share_with_credentials: false,
            credential_headers: Vec::new(),
        }
    }
}

impl KeyQuery {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path.clone(), value, findings) else {
            return base;
        };
        let mode = object.word("mode", base.mode, &QueryMode::WORDS);
        let names = object
            .set("names", MAX_QUERY_NAMES, names::query_name)
            .unwrap_or_default();
        object.finish();
        let query = Self { mode, names };
        if findings.sound(&path) {
            query.check(&path, findings);
        }
        query
    }

    fn check(&self, path: &str, findings: &mut Findings) {
        let named = matches!(self.mode, QueryMode::Include | QueryMode::Exclude);
        let message = match (named, self.names.is_empty()) {
            (true, true) => format!(
                "given no names, allowed with mode {} is at least one",
                self.mode.as_str()
            ),
            (false, false) => format!("given names, allowed with mode {} are none", self.mode.as_str()),
            _ => return,
        };
        findings.refuse(format!("{path}/names"), Problem::new(ViolationCode::Conflict, message));
    }
}

impl Route {
    /// `None` if it has no sound name, so that nothing else can be said about it but its own violations.
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let name = object.read("name", names::route_name);
        let base = Self::named(name.as_deref().unwrap_or_default());
        let route = Self {
            host: object.read("host", names::host).unwrap_or(base.host),
            path_prefix: object
                .read("path_prefix", names::path_prefix)
                .unwrap_or(base.path_prefix),
            cache: object.boolean("cache", base.cache),
            default_ttl_ms: object.optional_duration("default_ttl", 0..=MAX_TTL_MS),
            ttl_floor_ms: object.optional_duration("ttl_floor", 0..=MAX_TTL_MS),
            ttl_ceiling_ms: object.optional_duration("ttl_ceiling", 0..=MAX_TTL_MS),
            ttl_override_ms: object.optional_duration("ttl_override", 0..=MAX_TTL_MS),
            key_query: match object.field("key_query") {
                Some((path, value)) => KeyQuery::read(path, value, object.findings),
                None => base.key_query,
            },
            key_headers: object
                .set("key_headers", MAX_KEY_HEADERS, key_header)
                .unwrap_or_default(),
            isolate_authorization: object.boolean("isolate_authorization", base.isolate_authorization),
            ignore_request_cache_control: object
                .boolean("ignore_request_cache_control", base.ignore_request_cache_control),
            stale_while_revalidate_ms: object.optional_duration("stale_while_revalidate", 0..=MAX_TTL_MS),
            stale_if_error_ms: object.optional_duration("stale_if_error", 0..=MAX_TTL_MS),
            max_stale_on_outage_ms: object.optional_duration("max_stale_on_outage", 0..=MAX_TTL_MS),
            max_object_size: object.optional_size("max_object_size", super::OBJECT_SIZE),
            key_cookies: object
                .set("key_cookies", MAX_KEY_HEADERS, names::cookie_name)
                .unwrap_or_default(),
            upstream: object.read("upstream", names::route_name),
            breaker: object.boolean("breaker", base.breaker),
            set_cookie: object.word("set_cookie", base.set_cookie, &SetCookie::WORDS),
            share_with_credentials: object.boolean("share_with_credentials", base.share_with_credentials),
            credential_headers: object
                .set("credential_headers", super::MAX_CREDENTIAL_HEADERS, names::field_name)
                .unwrap_or_default(),
            name: base.name,
        };
        let name_given = object.field("name").is_some();
        object.finish();
        if !name_given {
            let problem = Problem::new(ViolationCode::Missing, "given no name; every route needs one");
            findings.refuse(format!("{path}/name"), problem);
        }
        name.map(|_| route)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
        set("name", json!(self.name));
        set("host", json!(self.host));
        set("path_prefix", json!(self.path_prefix));
        set("cache", json!(self.cache));
        set(
            "key_query",
            json!({ "mode": self.key_query.mode.as_str(), "names": self.key_query.names }),
        );
        set("key_headers", json!(self.key_headers));
        set("key_cookies", json!(self.key_cookies));
        set("isolate_authorization", json!(self.isolate_authorization));
        set("ignore_request_cache_control", json!(self.ignore_request_cache_control));
        set("breaker", json!(self.breaker));
        set("set_cookie", json!(self.set_cookie.as_str()));
        set("share_with_credentials", json!(self.share_with_credentials));
        set("credential_headers", json!(self.credential_headers));
        let own = [
            ("default_ttl", self.default_ttl_ms),
            ("ttl_floor", self.ttl_floor_ms),
            ("ttl_ceiling", self.ttl_ceiling_ms),
            ("ttl_override", self.ttl_override_ms),
            ("stale_while_revalidate", self.stale_while_revalidate_ms),
            ("stale_if_error", self.stale_if_error_ms),
            ("max_stale_on_outage", self.max_stale_on_outage_ms),
        ];
        for (name, ms) in own.into_iter().filter_map(|(name, ms)| Some((name, ms?))) {
            set(name, json!(format_duration(ms)));
        }
        if let Some(upstream) = &self.upstream {
            set("upstream", json!(upstream));
        }
        if let Some(bytes) = self.max_object_size {
            set("max_object_size", json!(format_size(bytes)));
        }
        Value::Object(object)
    }
}

/// A field of the request whose value may belong to the key; those that have a setting or a meaning of their own may
/// not.
fn key_header(value: &Value) -> Outcome<String> {
    let reading = names::field_name(value)?;
    match reading.value.as_str() {
        "authorization" => Err(Problem::of(
            ViolationCode::Conflict,
            value,
            "isolate_authorization for this field",
        )),
        "host" => Err(Problem::of(
            ViolationCode::Conflict,
            value,
            "any other field; the host is always in the key",
        )),
        _ => Ok(Reading::exact(reading.value)),
    }
}
