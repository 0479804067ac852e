//! Checked settings, compiled to what the hot path reads.

mod content;
mod describe;
mod health_checks;
mod quarantine;
mod readings;
mod route_match;
mod routing;
#[cfg(test)]
mod routing_tests;
mod verify;

use crate::breaker::{BreakerPolicy, FailurePolicy};
use crate::cache::{ClientState, ContentPolicy, FreshnessPolicy, KeyPolicy, QueryPolicy, SharingPolicy};
use crate::limit::LimitPolicy;
use crate::store::{Eviction, Limits};
use crate::tier_breaker::TierLimits;
use optimizer_proto::settings::{EvictionPolicy, FailureClass, KeyQuery, QueryMode, Route, SetCookie, Settings};
pub use quarantine::Scope;
use route_match::HostPattern;
pub use routing::Reading;
use routing::Shape;
use std::rc::Rc;
pub use verify::VerifyPolicy;

/// Name of the route that takes what no configured route does.
pub const DEFAULT_ROUTE: &str = "default";

/// What holds for the requests of one route.
#[derive(Debug)]
pub struct RoutePolicy {
    /// The route's name in settings and metrics.
    pub name: String,
    /// Whether responses are stored and reused.
    pub cache: bool,
    /// What the cache key is made of.
    pub key: KeyPolicy,
    /// Which requests with content are reads.
    pub content: ContentPolicy,
    /// How long responses live.
    pub freshness: FreshnessPolicy,
    /// Largest content stored, bytes.
    pub max_object: usize,
    /// Misses ask the shared tier, and what is stored is offered to it.
    pub tier: bool,
    /// The route has a breaker of its own, beside its upstream's.
    pub own_breaker: bool,
    /// Digest of the rule that makes the key.
    pub rule: String,
    /// Share of the hits that are verified, percent.
    pub verified_percent: u32,
    host: HostPattern,
    path_prefix: Vec<u8>,
    /// The prefix as the most orderly server reads it.
    canonical_prefix: Vec<u8>,
}

/// How the shared tier is used.
#[derive(Debug)]
pub struct TierPolicy {
    /// Any route takes part.
    pub enabled: bool,
    /// Sizes of stored responses that are offered.
    pub sizes: std::ops::RangeInclusive<usize>,
    /// When it is not asked.
    pub breaker: TierLimits,
}

/// Everything the settings say. What needs no compiling is read from the settings themselves.
#[derive(Debug)]
pub struct Policies {
    /// The settings that this was compiled from.
    pub settings: Settings,
    /// When and how calls to an upstream are refused.
    pub breaker: BreakerPolicy,
    /// How many calls an upstream gets at a time.
    pub limit: LimitPolicy,
    /// How the shared tier is used.
    pub tier: TierPolicy,
    /// How much is stored.
    pub limits: Limits,
    /// Which hits are verified; `None`: none.
    pub verify: Option<VerifyPolicy>,
    /// Requests that the cache has no part in.
    pub quarantine: Vec<Scope>,
    /// Bytes that all workers' own copies may take together.
    pub copies: u64,
    routes: Vec<Rc<RoutePolicy>>,
    default: Rc<RoutePolicy>,
    shape: Shape,
}

impl Policies {
    /// Compiles checked settings.
    #[must_use]
    pub fn compile(settings: &Settings) -> Self {
        let routes: Vec<Rc<RoutePolicy>> = settings
            .routes
            .iter()
            .map(|route| Rc::new(compile_route(route, settings)))
            .collect();
        Self {
            breaker: breaker(settings),
            limit: limit(settings),
            tier: tier(settings),
            limits: store_limits(settings),
            copies: copies(settings),
            verify: VerifyPolicy::of(&settings.verify_sharing),
            quarantine: settings.quarantine.iter().map(Scope::of_setting).collect(),
            shape: Shape::of(&routes),
            routes,
            default: Rc::new(compile_route(&Route::named(DEFAULT_ROUTE), settings)),
            settings: settings.clone(),
        }
    }
}

/// The part of the memory limit that is for the workers' own copies of what they serve most: a 32nd.
const COPIES_PART: u64 = 32;

fn copies(settings: &Settings) -> u64 {
    (u64::from(settings.cache_memory_mb) << 20) / COPIES_PART
}

/// Limits of the store: with the workers' copies it keeps within the memory limit.
#[must_use]
pub fn store_limits(settings: &Settings) -> Limits {
    let largest = settings
        .routes
        .iter()
        .filter_map(|route| route.max_object_size)
        .fold(settings.max_object_size, u64::max);
    Limits {
        entries: settings.cache_size,
        bytes: (u64::from(settings.cache_memory_mb) << 20) - copies(settings),
        // The limit is on content; a stored response has a head as well.
        object_bytes: u32::try_from(largest.saturating_add(HEAD_ALLOWANCE)).unwrap_or(u32::MAX),
    }
}

/// Room for the head of a stored response beside its content: more than Envoy lets through by default (60 KiB).
const HEAD_ALLOWANCE: u64 = 128 << 10;

/// Eviction policy of the store.
#[must_use]
pub fn eviction(settings: &Settings) -> Eviction {
    match settings.eviction_policy {
        EvictionPolicy::S3Fifo => Eviction::S3Fifo,
        EvictionPolicy::Sieve => Eviction::Sieve,
        EvictionPolicy::Lru => Eviction::Lru,
        EvictionPolicy::Lfu => Eviction::Lfu,
        EvictionPolicy::Fifo => Eviction::Fifo,
        EvictionPolicy::Gdsf => Eviction::Gdsf,
    }
}

fn compile_route(route: &Route, settings: &Settings) -> RoutePolicy {
    let global = &settings.freshness;
    RoutePolicy {
        name: route.name.clone(),
        cache: route.cache && settings.cache_enabled,
        key: KeyPolicy {
            query: query(&route.key_query),
            headers: lower_case(&route.key_headers),
            cookies: route.key_cookies.iter().map(|name| name.as_bytes().to_vec()).collect(),
            isolate_authorization: route.isolate_authorization,
        },
        content: content::policy(&route.key_body),
        freshness: FreshnessPolicy {
            default_ttl_ms: route.default_ttl_ms.unwrap_or(settings.default_ttl_ms),
            ttl_floor_ms: route.ttl_floor_ms.unwrap_or(global.ttl_floor_ms),
            ttl_ceiling_ms: route.ttl_ceiling_ms.unwrap_or(global.ttl_ceiling_ms),
            ttl_override_ms: route.ttl_override_ms,
            stale_while_revalidate_ms: route
                .stale_while_revalidate_ms
                .unwrap_or(global.stale_while_revalidate_ms),
            stale_if_error_ms: route.stale_if_error_ms.unwrap_or(global.stale_if_error_ms),
            max_stale_on_outage_ms: route.max_stale_on_outage_ms.unwrap_or(global.max_stale_on_outage_ms),
            heuristic_fraction_percent: global.heuristic_fraction_percent,
            jitter_percent: global.jitter_percent,
            error_ttl_ceiling_ms: global.error_ttl_ceiling_ms,
            sharing: sharing(route, settings),
            ignore_request_cache_control: route.ignore_request_cache_control,
            ..FreshnessPolicy::default()
        },
        max_object: usize::try_from(route.max_object_size.unwrap_or(settings.max_object_size)).unwrap_or(usize::MAX),
        tier: takes_part(route, settings),
        own_breaker: route.breaker,
        rule: route.key_rule(),
        verified_percent: verify::share(route, settings),
        host: HostPattern::new(&route.host),
        path_prefix: route.path_prefix.as_bytes().to_vec(),
        canonical_prefix: canonical_prefix(&route.path_prefix),
    }
}

fn canonical_prefix(prefix: &str) -> Vec<u8> {
    if prefix.is_empty() {
        return Vec::new();
    }
    readings::canonical(prefix.as_bytes())
}

fn sharing(route: &Route, settings: &Settings) -> SharingPolicy {
    let mut keyed = lower_case(&route.key_headers);
    if !route.key_cookies.is_empty() {
        keyed.push(b"cookie".to_vec());
    }
    if route.isolate_authorization {
        keyed.push(b"authorization".to_vec());
    }
    let mut credential_headers = lower_case(&settings.credential_headers);
    credential_headers.extend(lower_case(&route.credential_headers));
    SharingPolicy {
        with_credentials: route.share_with_credentials,
        credential_headers,
        keyed,
        client_state: match route.set_cookie {
            SetCookie::Refuse => ClientState::Refuse,
            SetCookie::Strip => ClientState::Strip,
            SetCookie::Share => ClientState::Share,
        },
    }
}

fn takes_part(route: &Route, settings: &Settings) -> bool {
    let tier = &settings.shared_tier;
    let named = tier.routes.is_empty() || tier.routes.contains(&route.name);
    tier.enabled && named && route.cache && settings.cache_enabled
}

fn tier(settings: &Settings) -> TierPolicy {
    let set = &settings.shared_tier;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    TierPolicy {
        enabled: set.enabled && settings.cache_enabled,
        sizes: size(set.min_size)..=size(set.max_size),
        breaker: TierLimits {
            failures: set.breaker_failures,
            wait_ms: set.breaker_wait_ms,
        },
    }
}

fn query(query: &KeyQuery) -> QueryPolicy {
    let names = || query.names.iter().map(|name| name.as_bytes().to_vec()).collect();
    match query.mode {
        QueryMode::All => QueryPolicy::All,
        QueryMode::None => QueryPolicy::None,
        QueryMode::Include => QueryPolicy::Include(names()),
        QueryMode::Exclude => QueryPolicy::Exclude(names()),
    }
}

fn lower_case(names: &[String]) -> Vec<Vec<u8>> {
    names
        .iter()
        .map(|name| name.to_ascii_lowercase().into_bytes())
        .collect()
}

fn limit(settings: &Settings) -> LimitPolicy {
    let set = &settings.concurrency;
    LimitPolicy {
        enabled: set.enabled,
        limit: settings.max_connections,
        adaptive: set.adaptive,
        minimum: set.minimum.min(settings.max_connections),
        queue: usize::try_from(set.queue).unwrap_or(usize::MAX),
        queue_ms: set.queue_timeout_ms,
    }
}

fn breaker(settings: &Settings) -> BreakerPolicy {
    let set = &settings.breaker;
    let counts = |class| set.failure_classes.contains(&class);
    BreakerPolicy {
        enabled: set.enabled,
        dry_run: set.dry_run,
        failure_rate_percent: set.failure_rate_percent,
        slow_call_rate_percent: set.slow_call_rate_percent,
        slow_call_ms: set.slow_call_duration_ms,
        window_ms: set.window_ms,
        minimum_calls: set.minimum_calls,
        consecutive_connect_failures: set.consecutive_connect_failures,
        open_wait_ms: set.open_wait_ms,
        open_wait_max_ms: set.open_wait_max_ms,
        jitter_percent: set.jitter_percent,
        probes: set.probes,
        ramp_ms: set.recovery_ramp_ms,
        failures: FailurePolicy {
            statuses: if counts(FailureClass::Status) {
                set.failure_statuses.clone()
            } else {
                Vec::new()
            },
            connect_failure: counts(FailureClass::ConnectFailure),
            reset: counts(FailureClass::Reset),
            timeout: counts(FailureClass::Timeout),
            refused: counts(FailureClass::Refused),
            protocol_error: counts(FailureClass::ProtocolError),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(document: &str) -> Settings {
        Settings::parse(&serde_json::from_str(document).unwrap()).unwrap().0
    }

    #[test]
    fn the_first_route_that_fits_wins() {
        let policies = Policies::compile(&settings(
            r#"{"routes":[
                {"name":"prices","host":"*.shop.example","path_prefix":"/v1/prices","default_ttl":"15m"},
                {"name":"shop","host":"*.shop.example"},
                {"name":"off","path_prefix":"/private","cache":false}]}"#,
        ));
        for (authority, path, name) in [
            ("a.shop.example:8080", "/v1/prices/7", "prices"),
            ("A.Shop.Example", "/v1", "shop"),
            ("other", "/private/x", "off"),
            ("other", "/", DEFAULT_ROUTE),
        ] {
            assert_eq!(policies.route(authority.as_bytes(), path.as_bytes()).name, name);
        }
        assert_eq!(
            policies
                .route(b"a.shop.example", b"/v1/prices")
                .freshness
                .default_ttl_ms,
            900_000
        );
        assert!(!policies.route(b"x", b"/private").cache);
    }

    #[test]
    fn every_knob_of_a_route_reaches_its_policy() {
        let policies = Policies::compile(&settings(
            r#"{"routes":[{"name":"a","host":"*.example","path_prefix":"/p","default_ttl":"2s","ttl_floor":"1s","ttl_ceiling":"3s",
                "ttl_override":"4s","stale_while_revalidate":"5s","stale_if_error":"6s","max_stale_on_outage":"7s",
                "key_query":{"mode":"exclude","names":["utm"]},"key_headers":["X-Tenant"],"key_cookies":["Plan"],
                "key_body":{"methods":["POST","QUERY"],"max_size":"2KiB","reads":"graphql","operations":["A"]},
                "isolate_authorization":true,"ignore_request_cache_control":true,"max_object_size":"8KiB","breaker":true,
                "set_cookie":"strip","share_with_credentials":true,"credential_headers":["X-Own"],"verify_hits_percent":7}],
                "verify_sharing":{"enabled":true},"credential_headers":["X-All"],"freshness":{"error_ttl_ceiling":"8s"}}"#,
        ));
        let mut described = policies.route(b"shop.example", b"/p/1").describe();
        let rest = described.as_object_mut().unwrap();
        rest.remove("heuristic_fraction_percent");
        rest.remove("jitter_percent");
        let expected = serde_json::json!({
            "host": "*.example", "path_prefix": "/p", "cache": true,
            "key": {
                "query": { "mode": "exclude", "names": ["utm"] },
                "headers": ["x-tenant"], "cookies": ["Plan"], "isolate_authorization": true,
            },
            "default_ttl_ms": 2_000, "ttl_floor_ms": 1_000, "ttl_ceiling_ms": 3_000, "ttl_override_ms": 4_000,
            "stale_while_revalidate_ms": 5_000, "stale_if_error_ms": 6_000, "max_stale_on_outage_ms": 7_000,
            "ignore_request_cache_control": true, "max_object_bytes": 8_192, "shared_tier": false, "breaker": true,
            "key_body": { "methods": ["QUERY", "POST"], "max_bytes": 2_048, "operations": ["A"], "persisted": [] },
            "error_ttl_ceiling_ms": 8_000, "set_cookie": "strip", "share_with_credentials": true,
            "credential_headers": ["x-all", "x-own"], "verify_hits_percent": 7,
        });
        assert_eq!(described, expected);
        assert_eq!(policies.route(b"other", b"/p").name, DEFAULT_ROUTE);
    }

    #[test]
    fn a_route_without_a_value_has_the_global_one() {
        let policies = Policies::compile(&settings(
            r#"{"default_ttl":"5m","cache_enabled":false,"freshness":{"stale_if_error":"1h"},"routes":[{"name":"a"}]}"#,
        ));
        let route = policies.route(b"x", b"/");
        assert_eq!(
            (route.freshness.default_ttl_ms, route.freshness.stale_if_error_ms),
            (300_000, 3_600_000)
        );
        assert!(!route.cache, "switched off for all");
        assert_eq!(route.verified_percent, 0, "nothing is verified");
        let policies = Policies::compile(&settings(
            r#"{"verify_sharing":{"enabled":true,"hits_percent":3},"routes":[{"name":"a","host":"a"},{"name":"b","verify_hits_percent":0}]}"#,
        ));
        let share = |host: &[u8]| policies.route(host, b"/").verified_percent;
        assert_eq!((share(b"a"), share(b"x")), (3, 0));
    }
}
