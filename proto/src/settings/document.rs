//! The whole document.

use serde_json::{Map, Value, json};

use super::caching::{CACHE_SIZE_CLASSES, EvictionPolicy};
use super::duration::format_duration;
use super::freshness::MAX_TTL_MS;
use super::reader::{Findings, ObjectReader, escaped, unknown_field};
use super::size::{format_size, size};
use super::{
    Alerts, Breaker, Concurrency, Freshness, Http2, MAX_ROUTES, MAX_UPSTREAMS, Network, Notice, OBJECT_SIZE,
    RequestCollapsing, Route, SharedTier, Upstream, Violation, network, number, rules,
};

/// Ranges of addresses that may purge.
const MAX_PURGE_SOURCES: usize = 64;

/// The checked settings. Every value is within its range and no two contradict each other, provided they came from
/// [`Settings::parse`].
///
/// Times are milliseconds in fields named `_ms`; in the document they are durations under the name without `_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// False: the filter neither stores nor serves stored responses; the breaker still works.
    pub cache_enabled: bool,
    /// Most stored responses per Envoy, 1..=1,000,000.
    pub cache_size: u32,
    /// Most memory for stored responses per Envoy, MB of 2^20 bytes, 1..=16,384.
    pub cache_memory_mb: u32,
    /// Largest response to store, bytes, 1 KiB..=16 MiB.
    pub max_object_size: u64,
    /// What makes room first.
    pub eviction_policy: EvictionPolicy,
    /// Freshness lifetime where the origin names none, ms, 0..=30 d; 0 = such responses are not stored.
    pub default_ttl_ms: u64,
    /// Most concurrent upstream connections per Envoy, 1..=1,000,000.
    pub max_connections: u32,
    /// Lifetimes and stale windows.
    pub freshness: Freshness,
    /// One fetch for many requests.
    pub request_collapsing: RequestCollapsing,
    /// The circuit breaker.
    pub breaker: Breaker,
    /// The filter's own limit of calls in flight.
    pub concurrency: Concurrency,
    /// The cache tier behind all Envoys.
    pub shared_tier: SharedTier,
    /// Connection pools, where the control plane generates Envoy's clusters.
    pub http2: Http2,
    /// When alerts are raised.
    pub alerts: Alerts,
    /// True: a write without `If-Match` is refused (428).
    pub require_if_match: bool,
    /// Who may purge by the method `PURGE` on the data path: ranges of client addresses, at most 64; none = nobody, such requests
    /// go to the origin.
    pub purge_sources: Vec<Network>,
    /// At most 256: clusters for Envoys that take them from the control plane; no two have the same name.
    pub upstreams: Vec<Upstream>,
    /// At most 256, in document order; no two have the same host and path prefix.
    pub routes: Vec<Route>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_enabled: true,
            cache_size: 10_000,
            cache_memory_mb: 64,
            max_object_size: 1 << 20,
            eviction_policy: EvictionPolicy::default(),
            default_ttl_ms: 0,
            max_connections: 1_024,
            freshness: Freshness::default(),
            request_collapsing: RequestCollapsing::default(),
            breaker: Breaker::default(),
            concurrency: Concurrency::default(),
            shared_tier: SharedTier::default(),
            http2: Http2::default(),
            alerts: Alerts::default(),
            require_if_match: false,
            purge_sources: Vec::new(),
            upstreams: Vec::new(),
            routes: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks a document. Absent fields take their defaults.
    ///
    /// # Errors
    /// Every violation in the document at once (at most [`super::MAX_VIOLATIONS`]).
    pub fn parse(document: &Value) -> Result<(Self, Vec<Notice>), Vec<Violation>> {
        let mut findings = Findings::default();
        let settings = Self::read(document, &mut findings);
        rules::check(&settings, &mut findings);
        concluded(settings, findings)
    }

    /// As [`Settings::parse`], for a document that a control plane of another version has checked: fields that this version does
    /// not know are left out and listed. Each has a default that keeps what was before it, so leaving it out is that default; an
    /// unknown *value* of a known field is refused as ever.
    ///
    /// # Errors
    /// Every violation in the known fields at once.
    pub fn parse_tolerant(document: &Value) -> Result<(Self, Vec<Violation>), Vec<Violation>> {
        let mut findings = Findings::tolerant();
        let settings = Self::read(document, &mut findings);
        rules::check(&settings, &mut findings);
        let ignored = findings.ignored.take().unwrap_or_default();
        concluded(settings, findings).map(|(settings, _)| (settings, ignored))
    }

    /// The canonical document: every field in its canonical spelling. Parsing it gives these settings again, without
    /// notices.
    ///
    /// Only a route's optional fields are left out where the route has no value of its own.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "cache_enabled": self.cache_enabled,
            "cache_size": self.cache_size,
            "cache_memory_mb": self.cache_memory_mb,
            "max_object_size": format_size(self.max_object_size),
            "eviction_policy": self.eviction_policy.as_str(),
            "default_ttl": format_duration(self.default_ttl_ms),
            "max_connections": self.max_connections,
            "freshness": self.freshness.to_json(),
            "request_collapsing": self.request_collapsing.to_json(),
            "breaker": self.breaker.to_json(),
            "concurrency": self.concurrency.to_json(),
            "shared_tier": self.shared_tier.to_json(),
            "http2": self.http2.to_json(),
            "alerts": self.alerts.to_json(),
            "require_if_match": self.require_if_match,
            "purge_sources": self.purge_sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "upstreams": self.upstreams.iter().map(Upstream::to_json).collect::<Vec<_>>(),
            "routes": self.routes.iter().map(Route::to_json).collect::<Vec<_>>(),
        })
    }

    /// Reads every field by itself; what is refused or absent has its default.
    fn read(document: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(String::new(), document, findings) else {
            return base;
        };
        let settings = Self {
            cache_enabled: object.boolean("cache_enabled", base.cache_enabled),
            cache_size: object
                .read("cache_size", |value| {
                    number::classed_integer(value, &(1..=1_000_000), &CACHE_SIZE_CLASSES)
                })
                .and_then(|entries| u32::try_from(entries).ok())
                .unwrap_or(base.cache_size),
            cache_memory_mb: object.integer("cache_memory_mb", base.cache_memory_mb, 1..=16_384),
            max_object_size: object
                .read("max_object_size", |value| size(value, &OBJECT_SIZE))
                .unwrap_or(base.max_object_size),
            eviction_policy: object.word("eviction_policy", base.eviction_policy, &EvictionPolicy::WORDS),
            default_ttl_ms: object.duration("default_ttl", base.default_ttl_ms, 0..=MAX_TTL_MS),
            max_connections: object.integer("max_connections", base.max_connections, 1..=1_000_000),
            freshness: match object.field("freshness") {
                Some((path, value)) => Freshness::read(path, value, object.findings),
                None => base.freshness,
            },
            request_collapsing: match object.field("request_collapsing") {
                Some((path, value)) => RequestCollapsing::read(path, value, object.findings),
                None => base.request_collapsing,
            },
            breaker: match object.field("breaker") {
                Some((path, value)) => Breaker::read(path, value, object.findings),
                None => base.breaker,
            },
            concurrency: match object.field("concurrency") {
                Some((path, value)) => Concurrency::read(path, value, object.findings),
                None => base.concurrency,
            },
            shared_tier: match object.field("shared_tier") {
                Some((path, value)) => SharedTier::read(path, value, object.findings),
                None => base.shared_tier,
            },
            http2: match object.field("http2") {
                Some((path, value)) => Http2::read(path, value, object.findings),
                None => base.http2,
            },
            alerts: match object.field("alerts") {
                Some((path, value)) => Alerts::read(path, value, object.findings),
                None => base.alerts,
            },
            require_if_match: object.boolean("require_if_match", base.require_if_match),
            purge_sources: object
                .set("purge_sources", MAX_PURGE_SOURCES, network::network)
                .unwrap_or_default(),
            upstreams: read_upstreams(&mut object),
            routes: read_routes(&mut object),
        };
        object.finish();
        settings
    }
}

fn read_routes(object: &mut ObjectReader<'_, '_>) -> Vec<Route> {
    let items = object.list("routes", MAX_ROUTES).unwrap_or_default();
    items
        .into_iter()
        .filter_map(|(path, value)| Route::read(path, value, object.findings))
        .collect()
}

fn read_upstreams(object: &mut ObjectReader<'_, '_>) -> Vec<Upstream> {
    let items = object.list("upstreams", MAX_UPSTREAMS).unwrap_or_default();
    items
        .into_iter()
        .filter_map(|(path, value)| Upstream::read(path, value, object.findings))
        .collect()
}

fn concluded<T>(value: T, findings: Findings) -> Result<(T, Vec<Notice>), Vec<Violation>> {
    if findings.violations.is_empty() {
        Ok((value, findings.notices))
    } else {
        Err(findings.violations)
    }
}

/// Judges one key of a flat source (a ConfigMap) by itself and gives its canonical value.
///
/// `key` is a field of the document, dots leading inwards: `cache_size`, `breaker.open_wait`. `text` is the value as
/// text; lists and objects as JSON (an object is complete: what it leaves out takes its default). Rules that span
/// several fields are left to [`Settings::parse`] of the resulting document.
///
/// # Errors
/// Every violation in the value; one if there is no such key.
pub fn check_key(key: &str, text: &str) -> Result<(Value, Vec<Notice>), Vec<Violation>> {
    let mut findings = Findings::default();
    if let Err((path, problem)) = locate(key) {
        findings.refuse(path, problem);
        return Err(findings.violations);
    }
    let structured = text.trim_start().starts_with(['[', '{']);
    let parsed = structured.then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    let value = parsed.unwrap_or_else(|| Value::from(text));
    let document = key.rsplit('.').fold(value, |inner, name| {
        let mut object = Map::new();
        object.insert(name.to_owned(), inner);
        Value::Object(object)
    });
    let canonical = Settings::read(&document, &mut findings).to_json();
    let judged = key.split('.').try_fold(&canonical, |value, name| value.get(name));
    concluded(judged.cloned().unwrap_or(Value::Null), findings)
}

/// The JSON Pointer of a flat key: `/breaker/open_wait` for `breaker.open_wait`; `None` if the document has no such
/// field.
#[must_use]
pub fn key_pointer(key: &str) -> Option<String> {
    locate(key).ok()
}

/// Walks the canonical default document, which has every field there is.
fn locate(key: &str) -> Result<String, (String, super::reader::Problem)> {
    let defaults = Settings::default().to_json();
    let mut pointer = String::new();
    let mut value = &defaults;
    for name in key.split('.') {
        let short: String = name.chars().take(64).collect();
        pointer = format!("{pointer}/{}", escaped(&short));
        let fields = value.as_object();
        let Some(inner) = fields.and_then(|fields| fields.get(name)) else {
            let known: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            return Err((pointer, unknown_field(name, &known)));
        };
        value = inner;
    }
    Ok(pointer)
}
