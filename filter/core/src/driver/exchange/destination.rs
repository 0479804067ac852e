//! Where Envoy sends a request: its cluster and route, and what depends on them.

use crate::cache::{CacheKey, Routing};
use crate::engine::CacheRequest;
use crate::http::head;
use std::ops::Deref;
use std::rc::Rc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A cluster and a route as one name.
pub(crate) fn pair(cluster: &[u8], route: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(cluster.len() + 1 + route.len());
    name.extend_from_slice(cluster);
    name.push(0);
    name.extend_from_slice(route);
    name
}

/// A cluster and a route, as Envoy names them.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) cluster: Vec<u8>,
    /// Its name; empty where the operator gave none.
    pub(crate) route: Vec<u8>,
    /// Both, as what is learned is kept by.
    pub(crate) pair: Vec<u8>,
    /// The cluster as text, for figures, breakers and limits.
    pub(crate) upstream: Rc<str>,
    /// Both can stand in a key.
    pub(crate) is_sound: bool,
}

impl Destination {
    pub(crate) fn new(cluster: Vec<u8>, route: Vec<u8>) -> Self {
        Self {
            pair: pair(&cluster, &route),
            upstream: String::from_utf8_lossy(&cluster).into(),
            is_sound: !cluster.is_empty() && CacheKey::may_hold(&cluster) && CacheKey::may_hold(&route),
            cluster,
            route,
        }
    }
}

/// Where Envoy sends a request.
#[derive(Debug, Clone)]
pub(crate) struct Routed {
    to: Rc<Destination>,
    /// The address that the client connected to, where it is in the key: the route has no name, and listeners may have different ones of
    /// this kind, or the cluster sends requests to that address.
    pub(crate) listener: Vec<u8>,
    /// What the route's header rules depend on, as a hash: both, and the host, which chooses the virtual host.
    pub(super) rules: u64,
}

impl Deref for Routed {
    type Target = Destination;

    fn deref(&self) -> &Destination {
        &self.to
    }
}

impl Routed {
    pub(crate) fn new(cluster: Vec<u8>, route: Vec<u8>, authority: &[u8]) -> Self {
        Self::to(Rc::new(Destination::new(cluster, route)), authority)
    }

    pub(crate) fn to(to: Rc<Destination>, authority: &[u8]) -> Self {
        let rules = xxh3_64_with_seed(&to.pair, xxh3_64(authority));
        Self {
            to,
            listener: Vec::new(),
            rules,
        }
    }

    /// Digest of what the route and its upstream may have been chosen by beside their names: all, where the route has none.
    pub(crate) fn head(&self, request: &CacheRequest<'_>) -> Option<String> {
        let mut lines: Vec<_> = match (self.route.is_empty(), self.listener.is_empty()) {
            (true, _) => request.fields.iter().collect(),
            (false, false) => Vec::new(),
            (false, true) => return None,
        };
        lines.push((b":listener", &self.listener));
        Some(head::digest(&lines))
    }

    /// What of a request's routing belongs to its key.
    pub(crate) fn routing<'r>(&'r self, request: &CacheRequest<'r>, head: Option<&'r str>) -> Routing<'r> {
        Routing {
            cluster: &self.cluster,
            route: &self.route,
            authority: request.target.authority,
            claimed_scheme: request.claimed_scheme,
            content: request.content,
            head,
        }
    }
}
