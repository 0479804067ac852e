//! Routes of the settings from the spots of all servers: hosts as nginx chooses them, beginnings of paths the longest first.

use crate::look::duration;
use crate::policy::conduct::Conduct;
use crate::policy::{Caching, Query};
use crate::report::LocationId;
use crate::spots::{Spot, Spots, around};
use crate::upstreams::unique;
use crate::values::slug;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A server's spots, with its hosts.
pub(crate) struct Hosted {
    pub hosts: Vec<String>,
    pub is_default: bool,
    /// It answers everything itself: a redirect. Another server of the same host counts.
    pub gives_way: bool,
    pub spots: Spots,
}

/// The routes of the settings, and the names of those that locations became.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub document: Vec<Value>,
    pub names: BTreeMap<LocationId, BTreeSet<String>>,
    /// Locations whose routes cache.
    pub caching: BTreeSet<LocationId>,
}

/// Every host.
const ANY: &str = "*";

/// The routes of all servers.
pub(crate) fn of(servers: &[Hosted]) -> Routes {
    let mut by_host: BTreeMap<String, Vec<&Hosted>> = BTreeMap::new();
    for server in servers {
        for host in &server.hosts {
            by_host.entry(host.clone()).or_default().push(server);
        }
        if server.is_default {
            by_host.entry(ANY.to_owned()).or_default().push(server);
        }
    }
    let merged: BTreeMap<String, Spots> = by_host
        .into_iter()
        .map(|(host, servers)| (host, merge(&servers)))
        .collect();
    let mut routes = Routes::default();
    let mut taken = BTreeSet::new();
    let any = merged.get(ANY);
    // A host that says what every host does needs no routes, where nothing stands between the two.
    let wildcards = merged
        .iter()
        .any(|(host, spots)| host.starts_with("*.") && Some(spots) != any);
    for (host, spots) in in_order(&merged) {
        if host != ANY && !wildcards && Some(spots) == any {
            continue;
        }
        for (prefix, spot) in longest_first(spots) {
            routes.add(host, prefix, spot, spots, &mut taken);
        }
    }
    if any.is_none() {
        let name = unique(&mut taken, "rest");
        routes.document.push(json!({"name": name, "cache": false}));
    }
    routes
}

/// nginx takes an exact host before the longest wildcard, and that before its default server.
fn in_order(merged: &BTreeMap<String, Spots>) -> Vec<(&str, &Spots)> {
    let mut hosts: Vec<(&str, &Spots)> = merged.iter().map(|(host, spots)| (host.as_str(), spots)).collect();
    hosts.sort_by_key(|(host, _)| match *host {
        ANY => (2, 0, *host),
        host if host.starts_with("*.") => (1, usize::MAX - host.len(), host),
        host => (0, 0, host),
    });
    hosts
}

fn longest_first(spots: &Spots) -> Vec<(&String, &Spot)> {
    let mut all: Vec<(&String, &Spot)> = spots.iter().collect();
    all.sort_by_key(|(prefix, _)| (usize::MAX - prefix.len(), prefix.as_str()));
    all
}

/// Several servers have one host, at different ports, which the settings do not tell apart.
fn merge(servers: &[&Hosted]) -> Spots {
    let all_give_way = servers.iter().all(|server| server.gives_way);
    let mut counted = servers.iter().filter(|server| all_give_way || !server.gives_way);
    let Some(first) = counted.next() else {
        return Spots::new();
    };
    let mut merged = first.spots.clone();
    for server in counted {
        merged = merge_two(&merged, &server.spots);
    }
    merged
}

fn merge_two(one: &Spots, other: &Spots) -> Spots {
    let prefixes: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut merged = Spots::new();
    for prefix in prefixes {
        let (Some((_, a)), Some((_, b))) = (around(one, prefix), around(other, prefix)) else {
            continue;
        };
        let mut spot = a.clone();
        spot.locations.extend(b.locations.iter().copied());
        if a.conduct.caching() != b.conduct.caching() {
            let upstream = a.conduct.upstream().or(b.conduct.upstream()).map(str::to_owned);
            spot.conduct = Conduct::Upstream {
                caching: None,
                upstream,
            };
        }
        merged.insert(prefix.clone(), spot);
    }
    merged
}

impl Routes {
    fn add(&mut self, host: &str, prefix: &str, spot: &Spot, spots: &Spots, taken: &mut BTreeSet<String>) {
        let says_nothing_new = |outer: &Spot| {
            let upstream = outer.conduct.upstream() == spot.conduct.upstream();
            outer.conduct.caching().is_none() && spot.conduct.caching().is_none() && upstream
        };
        let shorter: Spots = spots
            .iter()
            .filter(|(other, _)| other.len() < prefix.len())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if around(&shorter, prefix).is_some_and(|(_, outer)| says_nothing_new(outer)) {
            return;
        }
        let wanted = match (host, prefix) {
            (ANY, prefix) => slug(prefix, 56),
            (host, "/") => slug(host, 56),
            (host, prefix) => slug(&format!("{host}{prefix}"), 56),
        };
        let name = unique(taken, &wanted);
        for location in &spot.locations {
            self.names.entry(*location).or_default().insert(name.clone());
        }
        if spot.conduct.caching().is_some() {
            self.caching.extend(&spot.locations);
        }
        self.document.push(route(&name, host, prefix, &spot.conduct));
    }
}

fn route(name: &str, host: &str, prefix: &str, conduct: &Conduct) -> Value {
    let mut route = Map::new();
    let mut put = |name: &str, value: Value| drop(route.insert(name.to_owned(), value));
    put("name", json!(name));
    if host != ANY {
        put("host", json!(host));
    }
    if prefix != "/" {
        put("path_prefix", json!(prefix));
    }
    match conduct.caching() {
        None => put("cache", json!(false)),
        Some(caching) => caching_of(caching, &mut put),
    }
    if let Some(upstream) = conduct.upstream() {
        put("upstream", json!(upstream));
    }
    Value::Object(route)
}

fn caching_of(caching: &Caching, put: &mut impl FnMut(&str, Value)) {
    let times = [
        ("default_ttl", caching.default_ttl),
        ("ttl_override", caching.ttl_override),
        ("ttl_ceiling", caching.ttl_ceiling),
        ("stale_while_revalidate", caching.stale_while_revalidate),
        ("stale_if_error", caching.stale_if_error),
        ("max_stale_on_outage", caching.max_stale_on_outage),
    ];
    for (name, ms) in times {
        if let Some(ms) = ms {
            put(name, json!(duration(ms)));
        }
    }
    match &caching.query {
        Query::All => {}
        Query::None => put("key_query", json!({"mode": "none"})),
        Query::Include(names) => put("key_query", json!({"mode": "include", "names": names})),
    }
    for (name, set) in [
        ("key_headers", &caching.key_headers),
        ("key_cookies", &caching.key_cookies),
        ("credential_headers", &caching.credential_headers),
    ] {
        if !set.is_empty() {
            put(name, json!(set));
        }
    }
    if caching.isolate_authorization {
        put("isolate_authorization", json!(true));
    }
    if caching.strip_cookies {
        put("set_cookie", json!("strip"));
    }
    put("ignore_request_cache_control", json!(true));
}
