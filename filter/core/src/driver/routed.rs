//! Where Envoy sends a request, asked once for each, and the cache key that comes of it.

use super::exchange::Exchange;
use super::forwarding::{Knowledge, Routed};
use super::header_map;
use super::host::Host;
use super::vm::Vm;
use crate::cache::CacheKey;
use crate::engine::Asked;
use crate::policy::RoutePolicy;

impl Vm {
    /// Where Envoy sends this request. Asked once: the attributes cost as much as a lookup.
    pub(super) fn ask_route(&self, host: &impl Host, exchange: &mut Exchange, authority: &[u8]) {
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
        let mut routed = Routed::new(cluster, route, authority);
        if routed.route.is_empty() && !routed.cluster.is_empty() {
            self.forwarding.tell_unnamed(host, &exchange.upstream);
            routed.listener = host.property(b"destination\0address").unwrap_or_default();
        }
        exchange.routed = Some(routed);
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
        self.ask_route(host, exchange, asked.target.authority);
        let Some(routed) = exchange.routed.as_ref().filter(|routed| !routed.cluster.is_empty()) else {
            return Err("no-route");
        };
        if !CacheKey::may_hold(&routed.cluster) || !CacheKey::may_hold(&routed.route) {
            return Err("no-route");
        }
        Ok(self.key_under(routed, asked, route))
    }

    /// The key of what a POST brought, for a GET that is sent the same way; none where Envoy may choose another route for a GET.
    pub(super) fn key_of_posted(
        &self,
        host: &impl Host,
        exchange: &mut Exchange,
        asked: &Asked<'_>,
        route: &RoutePolicy,
    ) -> Option<CacheKey> {
        let key = self.key_of(host, exchange, asked, route).ok()?;
        let routed = exchange.routed.as_ref()?;
        (!routed.route.is_empty()).then_some(key)
    }

    /// The key of a request that is sent there.
    pub(super) fn key_under(&self, routed: &Routed, asked: &Asked<'_>, route: &RoutePolicy) -> CacheKey {
        let digest = routed.head(asked);
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
