//! What the settings say once for all routes: the store, heuristics, collapsing, limits.

use crate::look::{Context, Zone, duration};
use crate::nginx::tree::Directive;
use crate::policy::Caching;
use crate::policy::conduct::DEFAULT_INACTIVE_MS;
use crate::report::{LocationId, Note, Notes};
use crate::scope::Scope;
use crate::values;
use crate::variables::Source;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that fit into a megabyte of a zone, as nginx's documentation says.
const KEYS_PER_MB: u64 = 8_000;
/// Most stored responses of the settings.
const MOST_ENTRIES: u64 = 1_000_000;
/// Memory for the cache by default, MB.
const DEFAULT_MEMORY_MB: u64 = 64;

/// The zones of `proxy_cache_path`.
pub(crate) fn zones(http: &[Directive]) -> BTreeMap<String, Zone> {
    let mut zones = BTreeMap::new();
    for directive in http.iter().filter(|item| item.name == "proxy_cache_path") {
        let value = |name: &str| {
            directive
                .args
                .iter()
                .find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='))
        };
        let Some((name, keys)) = value("keys_zone").and_then(|zone| zone.split_once(':')) else {
            continue;
        };
        let zone = Zone {
            inactive: value("inactive")
                .and_then(values::milliseconds)
                .unwrap_or(DEFAULT_INACTIVE_MS),
            keys: values::bytes(keys).unwrap_or(0),
            max_size: value("max_size").and_then(values::bytes),
        };
        zones.insert(name.to_owned(), zone);
    }
    zones
}

/// A location that caches, with what holds for it.
pub(crate) struct Cached<'a> {
    pub id: LocationId,
    pub scope: Scope<'a>,
    pub caching: Caching,
}

/// What all routes have in common.
pub(crate) fn document(
    http: &[Directive],
    cached: &[Cached<'_>],
    context: &Context<'_>,
    notes: &mut Notes,
) -> Map<String, Value> {
    let mut document = Map::new();
    let used: BTreeSet<&str> = cached
        .iter()
        .filter_map(|location| location.scope.first("proxy_cache"))
        .collect();
    store(http, &used, context, &mut document, notes);
    if !cached.is_empty() {
        document.insert("freshness".to_owned(), freshness(cached, notes));
        document.insert("request_collapsing".to_owned(), collapsing(cached, notes));
        for location in cached {
            revalidation(location, notes);
        }
    }
    connections(http, context, &mut document, notes);
    document
}

fn store(
    http: &[Directive],
    used: &BTreeSet<&str>,
    context: &Context<'_>,
    document: &mut Map<String, Value>,
    notes: &mut Notes,
) {
    let zones: Vec<&Zone> = context
        .zones
        .iter()
        .filter(|(name, _)| used.contains(name.as_str()))
        .map(|(_, zone)| zone)
        .collect();
    let keys: u64 = zones.iter().map(|zone| zone.keys >> 20).sum();
    let entries = keys.saturating_mul(KEYS_PER_MB).min(MOST_ENTRIES);
    if entries > 0 {
        document.insert("cache_size".to_owned(), json!(entries));
    }
    let size: Option<u64> = zones.iter().map(|zone| zone.max_size).sum();
    let memory = size
        .map(|bytes| (bytes >> 20).max(1))
        .filter(|mb| *mb < DEFAULT_MEMORY_MB && !zones.is_empty());
    if let Some(mb) = memory {
        document.insert("cache_memory_mb".to_owned(), json!(mb));
    }
    for directive in http.iter().filter(|item| item.name == "proxy_cache_path") {
        let zone = directive
            .args
            .iter()
            .find_map(|arg| arg.strip_prefix("keys_zone=")?.split(':').next());
        if !zone.is_some_and(|zone| used.contains(zone)) {
            notes.add(
                directive,
                None,
                Note::irrelevant("unused", "No location that is migrated caches in this zone."),
            );
            continue;
        }
        let says = format!(
            "There is one store per Envoy, in memory, for all zones: {} MB (cache_memory_mb), {} responses (cache_size), none above 1 MiB \
             (max_object_size). Nothing is kept on disk, and nothing is shared between Envoys without shared_tier.",
            memory.unwrap_or(DEFAULT_MEMORY_MB),
            if entries > 0 { entries } else { 10_000 }
        );
        notes.add(directive, None, Note::changed("store", says));
        let says = "What nobody asks for stays until it is no longer fresh or makes room; nginx let it go after the inactive time.";
        notes.add(directive, None, Note::changed("inactive", says));
    }
}

/// nginx guesses no lifetime from Last-Modified. Where every route has one of its own, a response with that field gets it, or less.
fn freshness(cached: &[Cached<'_>], notes: &mut Notes) -> Value {
    let has_own = |caching: &Caching| caching.default_ttl.is_some() || caching.ttl_override.is_some();
    let percent = if cached.iter().all(|location| has_own(&location.caching)) {
        100
    } else {
        0
    };
    for location in cached.iter().filter(|location| location.caching.default_ttl.is_some()) {
        for directive in location.scope.all("proxy_cache_valid") {
            let says = if percent == 0 {
                "A response with Last-Modified and no freshness of the origin's own is not stored: some route has no lifetime, and \
                 freshness.heuristic_fraction_percent is for all routes."
            } else {
                "A response with Last-Modified lives no longer than the time since then (freshness.heuristic_fraction_percent)."
            };
            notes.add(directive, Some(location.id), Note::changed("last_modified", says));
        }
    }
    let mut value = json!({ "heuristic_fraction_percent": percent, "max_stale_on_outage": "0s" });
    if cached.iter().any(|location| location.caching.ignores_freshness) {
        value["error_ttl_ceiling"] = json!("0s");
    }
    value
}

fn collapsing(cached: &[Cached<'_>], notes: &mut Notes) -> Value {
    let locked: Vec<&Cached<'_>> = cached
        .iter()
        .filter(|location| location.scope.is_on("proxy_cache_lock"))
        .collect();
    let ages = locked
        .iter()
        .filter_map(|location| values::milliseconds(location.scope.first("proxy_cache_lock_age")?));
    let timeout = ages.min().unwrap_or(5_000).clamp(100, 60_000);
    for location in cached {
        let mut note = |name: &str, note: Note| {
            if let Some(directive) = location.scope.one(name) {
                notes.add(directive, Some(location.id), note);
            }
        };
        if locked.is_empty() {
            note(
                "proxy_cache_lock",
                Note::taken(
                    "lock",
                    "Requests do not wait for each other (request_collapsing.enabled: false).",
                ),
            );
        } else {
            let says = "Requests for what is being fetched wait for that fetch. It is one switch for all routes, also those without a lock in \
                        nginx; whoever cannot be answered by the fetch goes on at once.";
            note("proxy_cache_lock", Note::changed("lock", says));
        }
        let says = format!(
            "After {} without a word one more request is sent (request_collapsing.timeout).",
            duration(timeout)
        );
        note("proxy_cache_lock_age", Note::taken("lock_age", says));
        let says = "Nobody who waits is sent on by a time of his own; request_collapsing.timeout sends one of those who wait beside a fetch \
                    that is silent. What nginx fetched for one who had waited too long it did not store.";
        note("proxy_cache_lock_timeout", Note::changed("lock_timeout", says));
    }
    if locked.is_empty() {
        json!({ "enabled": false })
    } else {
        json!({ "enabled": true, "timeout": duration(timeout) })
    }
}

fn revalidation(location: &Cached<'_>, notes: &mut Notes) {
    let Some(directive) = location.scope.one("proxy_cache_revalidate") else {
        return;
    };
    let note = if directive.first() == "on" {
        Note::taken("revalidate", "What is stale is validated by ETag or Last-Modified.")
    } else {
        Note::changed(
            "revalidate",
            "What is stale is validated by ETag or Last-Modified, always; an origin that has not changed it answers 304.",
        )
    };
    notes.add(directive, Some(location.id), note);
}

/// `limit_conn` by a name of the server is a limit for all clients together.
fn connections(http: &[Directive], context: &Context<'_>, document: &mut Map<String, Value>, notes: &mut Notes) {
    let mut for_all = BTreeSet::new();
    for zone in http.iter().filter(|item| item.name == "limit_conn_zone") {
        let sources = context.variables.resolve(zone.first()).sources;
        let name = zone
            .args
            .iter()
            .find_map(|arg| arg.strip_prefix("zone=")?.split(':').next());
        let common = |source: &Source| *source == Source::Place;
        if let Some(name) = name.filter(|_| !sources.is_empty() && sources.iter().all(common)) {
            for_all.insert(name.to_owned());
            notes.add(
                zone,
                None,
                Note::irrelevant("limit_zone", "The limits that use it have lines of their own."),
            );
        } else {
            let says = "No setting counts by client; Envoy has to, by a filter before this one.";
            notes.add(zone, None, Note::impossible("limit_conn", says));
        }
    }
    let mut limits: Vec<&Directive> = Vec::new();
    find(http, "limit_conn", &mut limits);
    let mut most = None;
    for directive in limits {
        let number = directive
            .args
            .get(1)
            .and_then(|number| number.parse::<u64>().ok())
            .filter(|number| *number > 0);
        match number {
            Some(number) if for_all.contains(directive.first()) => {
                most = Some(most.unwrap_or(0).max(number));
                let says = "max_connections limits the requests under way to each upstream of an Envoy, and what is beyond is refused with 503 \
                            at once (concurrency.queue: 0). Answers from the store do not count; in nginx they did. Of several limits the \
                            greatest is taken.";
                notes.add(directive, None, Note::changed("limit_conn", says));
            }
            _ => {
                let says = "No setting counts by client; Envoy has to, by a filter before this one.";
                notes.add(directive, None, Note::impossible("limit_conn", says));
            }
        }
    }
    if let Some(most) = most {
        document.insert("max_connections".to_owned(), json!(most.clamp(1, MOST_ENTRIES)));
        document.insert("concurrency".to_owned(), json!({ "queue": 0 }));
    }
}

fn find<'a>(items: &'a [Directive], name: &str, found: &mut Vec<&'a Directive>) {
    for item in items {
        if item.name == name {
            found.push(item);
        }
        find(item.children(), name, found);
    }
}
