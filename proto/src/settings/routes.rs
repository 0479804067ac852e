//! Routes: what differs for a part of the traffic.

use serde_json::Value;

use super::ViolationCode;
use super::freshness::MAX_TTL_MS;
use super::key_body::KeyBody;
use super::kinds::{Optional, Required, Set, object};
use super::names;
use super::reader::{Findings, ObjectReader, Outcome, Problem, Reading};
use super::rows::{Item, Rows, Topic, settings};
use super::scalars::{Duration, Flag, Integer, Size, Text, Words, duration, percent, size};
use super::sharing::SetCookie;

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

settings! {
    /// The part of the query in the cache key.
    KeyQuery {
        /// Which parameters: all, none, only those in names (include), or all but those (exclude).
        "mode" => mode: QueryMode = QueryMode::default(), Words(&QueryMode::WORDS), example "include";
        /// Names of parameters, case-sensitive; only with the modes include and exclude, and then at least one.
        "names" => names: Vec<String> = Vec::new(), Set { item: names::QUERY_NAME, max: MAX_QUERY_NAMES, sorted: false },
            example ["utm_source"];
    }
}

/// A lifetime of a route's own; without one it is that of all routes.
const OWN_TTL: Optional<Duration> = Optional {
    kind: duration(0..=MAX_TTL_MS),
    null: true,
};
/// A size of a route's own.
const OWN_SIZE: Optional<Size> = Optional {
    kind: size(super::OBJECT_SIZE),
    null: true,
};
/// A share of a route's own.
const OWN_SHARE: Optional<Integer> = Optional {
    kind: percent(0..=100),
    null: true,
};

settings! {
    /// Settings for the requests of one host and path prefix. What it leaves out is as for all routes. No two routes have the same name, nor
    /// the same host and path_prefix.
    Route {
        /// Its name, which no other one has; the label in telemetry. other is taken: it is the label of requests without a route.
        "name" => name: String = String::new(), Required { kind: names::ROUTE_NAME, why: None }, example "catalogue";
        /// Host of the requests, with its port if not the default one; \*: every host.
        "host" => host: String = "*".to_owned(), names::HOST, example "*.example.com";
        /// Beginning of their path.
        "path_prefix" => path_prefix: String = "/".to_owned(), names::PATH_PREFIX, example "/catalogue";
        /// False: responses are neither stored nor served from store.
        "cache" => cache: bool = true, Flag, example false;
        /// Freshness lifetime where the origin names none. 0s: such responses are not stored.
        "default_ttl" => default_ttl_ms: Option<u64> = None, OWN_TTL, example "10m";
        /// Least freshness lifetime of a storable response.
        "ttl_floor" => ttl_floor_ms: Option<u64> = None, OWN_TTL, example "5s";
        /// Greatest freshness lifetime.
        "ttl_ceiling" => ttl_ceiling_ms: Option<u64> = None, OWN_TTL, example "1h";
        /// Freshness lifetime whatever the origin says.
        "ttl_override" => ttl_override_ms: Option<u64> = None, OWN_TTL, example "2m";
        /// The query's part in the cache key.
        "key_query" => key_query: KeyQuery = KeyQuery::default(), object::<KeyQuery>(),
            example {"mode": "exclude", "names": ["utm_source"]};
        /// Requests with content whose responses are stored.
        "key_body" => key_body: KeyBody = KeyBody::default(), object::<KeyBody>(), example {"methods": ["QUERY"]};
        /// Names of request fields whose values belong to the cache key.
        "key_headers" => key_headers: Vec<String> = Vec::new(), Set { item: KEY_HEADER, max: MAX_KEY_HEADERS, sorted: false },
            example ["accept-language"];
        /// True: the Authorization value belongs to the cache key, so that users never share a stored response.
        "isolate_authorization" => isolate_authorization: bool = false, Flag, example true;
        /// True: Cache-Control and Pragma of the request are not obeyed.
        "ignore_request_cache_control" => ignore_request_cache_control: bool = false, Flag, example true;
        /// How long past freshness a response may serve while it is revalidated (RFC 5861 section 3) where the origin names no window.
        "stale_while_revalidate" => stale_while_revalidate_ms: Option<u64> = None, OWN_TTL, example "10s";
        /// How long past freshness a response may stand in for an error (RFC 5861 section 4) where the origin names no window.
        "stale_if_error" => stale_if_error_ms: Option<u64> = None, OWN_TTL, example "1m";
        /// How long past freshness a response may serve while the breaker is open or the upstream unreachable.
        "max_stale_on_outage" => max_stale_on_outage_ms: Option<u64> = None, OWN_TTL, example "30m";
        /// Largest response to store.
        "max_object_size" => max_object_size: Option<u64> = None, OWN_SIZE, example "256KiB";
        /// Names of cookies whose values belong to the cache key.
        "key_cookies" => key_cookies: Vec<String> = Vec::new(), Set { item: names::COOKIE_NAME, max: MAX_KEY_HEADERS, sorted: false },
            example ["session"];
        /// Name of the upstream that requests of the route go to, where the control plane generates Envoy's routes. None: the first one.
        "upstream" => upstream: Option<String> = None, Optional { kind: names::ROUTE_NAME, null: false }, example "api";
        /// True: the route has a breaker of its own beside those of other routes to the same upstream.
        "breaker" => breaker: bool = false, Flag, example true;
        /// What becomes of responses with Set-Cookie: not stored (refuse), stored without these fields (strip), or stored as they are, so
        /// that every client gets these fields (share).
        "set_cookie" => set_cookie: SetCookie = SetCookie::default(), Words(&SetCookie::WORDS), example "strip";
        /// True: freshness that the origin did not give also applies to requests with credentials.
        "share_with_credentials" => share_with_credentials: bool = false, Flag, example true;
        /// Names of request fields that carry credentials, for this route besides those of all routes.
        "credential_headers" => credential_headers: Vec<String> = Vec::new(), super::credential_headers(), example ["x-api-key"];
        /// Share of the hits that are verified, in place of verify_sharing.hits_percent. 0: none is. Without effect while verify_sharing is off.
        "verify_hits_percent" => verify_hits_percent: Option<u32> = None, OWN_SHARE, example 0;
    }
}

impl Topic for KeyQuery {
    fn read(path: String, value: &Value, base: Self, findings: &mut Findings) -> Self {
        let Some(mut object) = ObjectReader::open(path.clone(), value, findings) else {
            return base;
        };
        let query = Self::read_rows(&mut object, base);
        object.finish();
        if findings.sound(&path) {
            query.check(&path, findings);
        }
        query
    }
}

impl KeyQuery {
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
    /// A route for all hosts and paths with nothing of its own.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

impl Item for Route {
    /// `None` if it has no sound name, so that nothing else can be said about it but its own violations.
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let route = Self::read_rows(&mut object, Self::default());
        let given = object.has("name");
        object.finish();
        if !given {
            let problem = Problem::new(ViolationCode::Missing, "given no name; every route needs one");
            findings.refuse(format!("{path}/name"), problem);
        }
        Some(route).filter(|route| !route.name.is_empty())
    }
}

/// A field of the request whose value may belong to the key; those that have a setting or a meaning of their own may not.
const KEY_HEADER: Text = Text {
    read: key_header,
    spell: String::clone,
    pattern: names::FIELD_NAME.pattern,
    max: names::FIELD_NAME.max,
    allowed: "the name of a request field other than Authorization and Host",
};

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
