//! The whole document.

use serde_json::Value;

use super::caching::{CACHE_SIZE_CLASSES, EvictionPolicy};
use super::freshness::MAX_TTL_MS;
use super::kinds::{Set, list, object};
use super::reader::{Findings, ObjectReader};
use super::rows::{Rows, settings};
use super::scalars::{Flag, Words, count, duration, size};
use super::{
    Alerts, Breaker, Concurrency, Freshness, Http2, MAX_QUARANTINED, MAX_ROUTES, MAX_UPSTREAMS, Network, OBJECT_SIZE,
    Quarantined, RequestCollapsing, Route, SharedTier, Upstream, VerifySharing, network,
};

/// Ranges of addresses that may purge.
const MAX_PURGE_SOURCES: usize = 64;

settings! {
    /// The settings of the API Latency Optimizer, in force for all Envoys.
    Settings {
        /// False: the filter neither stores nor serves stored responses; the breaker still works.
        "cache_enabled" => cache_enabled: bool = true, Flag, example false;
        /// Most stored responses per Envoy.
        "cache_size" => cache_size: u32 = 10_000, count(1..=1_000_000, "responses").or(&CACHE_SIZE_CLASSES), example 1_200;
        /// Most memory for stored responses per Envoy, MB of 2^20 bytes.
        "cache_memory_mb" => cache_memory_mb: u32 = 64, count(1..=16_384, "MB"), example 128;
        /// Largest response to store.
        "max_object_size" => max_object_size: u64 = 1 << 20, size(OBJECT_SIZE), example "2MiB";
        /// In which order stored responses make room: s3_fifo (new entries prove themselves in a small queue first, so that a scan does not
        /// empty the cache), sieve (one queue, and a hand that spares what was used since it last passed), least recently used (lru), least
        /// frequently used (lfu) or oldest (fifo) first; or what saves the origin least for the memory it takes (gdsf: hits, fetch time, size).
        "eviction_policy" => eviction_policy: EvictionPolicy = EvictionPolicy::default(), Words(&EvictionPolicy::WORDS), example "lfu";
        /// Freshness lifetime where the origin names none. 0s: such responses are not stored.
        "default_ttl" => default_ttl_ms: u64 = 0, duration(0..=MAX_TTL_MS), example "15m";
        /// Names of request fields that carry credentials, besides those the filter knows by itself.
        "credential_headers" => credential_headers: Vec<String> = Vec::new(), super::credential_headers(), example ["x-api-key"];
        /// Most concurrent upstream connections per Envoy.
        "max_connections" => max_connections: u32 = 1_024, count(1..=1_000_000, "connections"), example 50;
        /// Lifetimes and stale windows.
        "freshness" => freshness: Freshness = Freshness::default(), object::<Freshness>(), example {"ttl_floor": "1s"};
        /// One fetch for many requests.
        "request_collapsing" => request_collapsing: RequestCollapsing = RequestCollapsing::default(), object::<RequestCollapsing>(),
            example {"timeout": "2s"};
        /// The circuit breaker.
        "breaker" => breaker: Breaker = Breaker::default(), object::<Breaker>(), example {"open_wait": "2s"};
        /// The filter's own limit of calls in flight.
        "concurrency" => concurrency: Concurrency = Concurrency::default(), object::<Concurrency>(), example {"adaptive": true};
        /// The cache tier behind all Envoys.
        "shared_tier" => shared_tier: SharedTier = SharedTier::default(), object::<SharedTier>(), example {"enabled": true};
        /// Connection pools, where the control plane generates Envoy's clusters.
        "http2" => http2: Http2 = Http2::default(), object::<Http2>(), example {"idle_timeout": "1m"};
        /// When alerts are raised.
        "alerts" => alerts: Alerts = Alerts::default(), object::<Alerts>(), example {"minimum_samples": 50};
        /// True: a write without If-Match is refused (428).
        "require_if_match" => require_if_match: bool = false, Flag, example true;
        /// Who may purge by the method PURGE on the data path: ranges of client addresses. None: nobody, such requests go to the origin.
        "purge_sources" => purge_sources: Vec<Network> = Vec::new(),
            Set { item: network::NETWORK, max: MAX_PURGE_SOURCES, sorted: false }, example ["10.0.0.0/8"];
        /// Clusters for Envoys that take them from the control plane.
        "upstreams" => upstreams: Vec<Upstream> = Vec::new(), list::<Upstream>(MAX_UPSTREAMS),
            example [{"name": "api", "endpoints": [{"address": "api.example.com:443"}]}];
        /// What differs for a part of the traffic. The first route of the list that a request fits is its own.
        "routes" => routes: Vec<Route> = Vec::new(), list::<Route>(MAX_ROUTES), example [{"name": "catalogue", "path_prefix": "/catalogue"}];
        /// Hits that are compared with the origin.
        "verify_sharing" => verify_sharing: VerifySharing = VerifySharing::default(), object::<VerifySharing>(), example {"enabled": true};
        /// What was found not to be shareable: the cache has no part in these requests.
        "quarantine" => quarantine: Vec<Quarantined> = Vec::new(), list::<Quarantined>(MAX_QUARANTINED),
            example [{"id": "0123456789abcdef", "route": "catalogue", "rule": "0123456789abcdef"}];
    }
}

impl Settings {
    /// The canonical document: every field in its canonical spelling. Parsing it gives these settings again, without
    /// notices.
    ///
    /// Only a route's optional fields are left out where the route has no value of its own.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Rows::to_json(self)
    }

    /// Reads every field by itself; what is refused or absent has its default.
    pub(super) fn read(document: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(String::new(), document, findings) else {
            return base;
        };
        let settings = Self::read_rows(&mut object, base);
        object.finish();
        settings
    }
}
