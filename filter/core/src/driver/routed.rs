//! Where Envoy sends a request, asked once for each, and the cache key that comes of it.

use super::exchange::Exchange;
use super::forwarding::{Knowledge, pair};
use super::header_map;
use super::host::Host;
use super::vm::Vm;
use crate::cache::{CacheKey, Routing};
use crate::engine::Asked;
use crate::http::head;
use crate::policy::RoutePolicy;

/// The cluster and route that Envoy has chosen.
#[derive(Debug, Clone, Default)]
pub(super) struct Routed {
    pub(super) cluster: Vec<u8>,
    /// Its name; empty where the operator gave none.
    pub(super) route: Vec<u8>,
    /// Both, as what is learned is kept by.
    pub(super) pair: Vec<u8>,
}

impl Routed {
    pub(super) fn new(cluster: Vec<u8>, route: Vec<u8>) -> Self {
        let pair = pair(&cluster, &route);
        Self { cluster, route, pair }
    }

    /// What of a request's routing belongs to its key. `changed`: Envoy changes requests of this cluster and route. An unnamed route
    /// may then have been chosen by any field.
    pub(super) fn routing<'r>(&'r self, asked: &Asked<'r>, head: Option<&'r str>) -> Routing<'r> {
        Routing {
            cluster: &self.cluster,
            route: &self.route,
            authority: asked.target.authority,
            claimed_scheme: asked.claimed_scheme,
            head,
        }
    }
}

impl Vm {
    /// Where Envoy sends this request. Asked once: the attributes cost as much as a lookup.
    pub(super) fn ask_route(&self, host: &impl Host, exchange: &mut Exchange) {
        if exchange.routed.is_some() {
            return;
        }
        let cluster = host.property(b"xds\0cluster_name").unwrap_or_default();
        let route = if cluster.is_empty() {
            Vec::new()
        } else {
            host.property(b"xds\0route_name").unwrap_or_default()
        };
        exchange.upstream = String::from_utf8_lossy(&cluster).into_owned();
        exchange.routed = Some(Routed::new(cluster, route));
    }

    /// The key of a request, or why the cache is not asked.
    pub(super) fn key_of(
        &self,
        host: &impl Host,
        exchange: &mut Exchange,
        asked: &Asked<'_>,
        route: &RoutePolicy,
    ) -> Result<CacheKey, &'static str> {
        if let Some(odd) = asked.odd {
            return Err(odd);
        }
        if self.forwarding.rewrites_replies() {
            return Err("reply-rewritten");
        }
        self.ask_route(host, exchange);
        let Some(routed) = exchange.routed.as_ref().filter(|routed| !routed.cluster.is_empty()) else {
            return Err("no-route");
        };
        if !CacheKey::may_hold(&routed.cluster) || !CacheKey::may_hold(&routed.route) {
            return Err("no-route");
        }
        Ok(self.key_under(routed, asked, route))
    }

    /// The key of what a POST brought, for a GET that is sent the same way; none where Envoy may send a GET otherwise.
    pub(super) fn key_of_posted(
        &self,
        host: &impl Host,
        exchange: &mut Exchange,
        asked: &Asked<'_>,
        route: &RoutePolicy,
    ) -> Option<CacheKey> {
        let key = self.key_of(host, exchange, asked, route).ok()?;
        let routed = exchange.routed.as_ref()?;
        (!routed.route.is_empty() || self.forwarding.of(&routed.pair) == Knowledge::Unchanged).then_some(key)
    }

    /// The key of a request that is sent there.
    pub(super) fn key_under(&self, routed: &Routed, asked: &Asked<'_>, route: &RoutePolicy) -> CacheKey {
        let digest = (routed.route.is_empty() && self.forwarding.of(&routed.pair) == Knowledge::Changed)
            .then(|| head::digest(&asked.fields.iter().collect::<Vec<_>>()));
        let routing = routed.routing(asked, digest.as_deref());
        CacheKey::of_routed(
            &route.key,
            &asked.target,
            &asked.fields,
            &self.key_secret.secret,
            &routing,
        )
    }

    /// Whether what comes under this key is stored only when it is known how its request left Envoy. A named route is in the key in
    /// any case.
    pub(super) fn must_learn_first(&self, exchange: &Exchange) -> bool {
        exchange
            .routed
            .as_ref()
            .is_some_and(|routed| routed.route.is_empty() && self.forwarding.of(&routed.pair) == Knowledge::Unknown)
    }

    /// The key under which to store what a stream brought, after it is known how its request left Envoy.
    pub(super) fn key_as_learned(&self, exchange: &Exchange, came: &[u8]) -> Option<CacheKey> {
        let asked = Asked::read(header_map::parse(came).into())?;
        let (routed, route) = (exchange.routed.as_ref()?, exchange.route.as_ref()?);
        Some(self.key_under(routed, &asked, route))
    }
}
