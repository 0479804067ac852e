//! Where Envoy sends a request, asked once for each, and the cache key that comes of it.

use crate::cache::CacheKey;
use crate::driver::exchange::Exchange;
use crate::driver::exchange::destination::Routed;
use crate::driver::host::Host;
use crate::driver::state::learned_routes::LearnedRoutes;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use std::rc::Rc;

impl LearnedRoutes {
    /// Where Envoy sends this request. Asked once: the attributes cost as much as a lookup.
    pub(crate) fn ask_route(&self, host: &impl Host, exchange: &mut Exchange, authority: &[u8]) {
        if exchange.routed.is_some() {
            return;
        }
        let cluster = host.property(b"xds\0cluster_name").unwrap_or_default();
        let route = if cluster.is_empty() {
            Vec::new()
        } else {
            host.property(b"xds\0route_name").unwrap_or_default()
        };
        let mut routed = self.forwarding.routed(cluster, route, authority);
        exchange.upstream = Rc::clone(&routed.upstream);
        let is_unnamed = routed.route.is_empty() && !routed.cluster.is_empty();
        if is_unnamed {
            self.forwarding.log_unnamed(host, &exchange.upstream);
        }
        if is_unnamed || self.forwarding.is_by_destination(&routed.pair) {
            routed.listener = host.property(b"destination\0address").unwrap_or_default();
        }
        exchange.routed = Some(routed);
    }
}

impl Vm {
    /// The key of a request, or why the cache is not asked.
    pub(crate) fn key_of(
        &self,
        host: &impl Host,
        exchange: &mut Exchange,
        request: &CacheRequest<'_>,
        route: &RoutePolicy,
    ) -> Result<CacheKey, Reason> {
        if let Some(odd) = request.odd {
            return Err(odd);
        }
        if self.learned.forwarding.rewrites_replies() {
            return Err(Reason::ReplyRewritten);
        }
        self.learned.ask_route(host, exchange, request.target.authority);
        let Some(routed) = exchange.routed.as_ref().filter(|routed| routed.is_sound) else {
            return Err(Reason::NoRoute);
        };
        if let Some(unsound) = self.learned.forwarding.unsound(&routed.pair) {
            return Err(unsound);
        }
        if self.is_quarantined(route, request.target.authority, request.target.path) {
            return Err(Reason::Quarantined);
        }
        Ok(self.key_under(routed, request, route))
    }

    /// The key of what a POST brought, for a GET that is sent the same way; none where Envoy may choose another route for a GET.
    pub(crate) fn key_of_posted(
        &self,
        host: &impl Host,
        exchange: &mut Exchange,
        request: &CacheRequest<'_>,
        route: &RoutePolicy,
    ) -> Option<CacheKey> {
        let key = self.key_of(host, exchange, request, route).ok()?;
        let routed = exchange.routed.as_ref()?;
        (!routed.route.is_empty()).then_some(key)
    }

    /// The key of a request that is sent there.
    pub(crate) fn key_under(&self, routed: &Routed, request: &CacheRequest<'_>, route: &RoutePolicy) -> CacheKey {
        let digest = routed.head(request);
        self.key_with(routed, request, route, digest.as_deref())
    }

    /// As [`Vm::key_under`], without the digest of the head.
    pub(crate) fn headless_key(&self, routed: &Routed, request: &CacheRequest<'_>, route: &RoutePolicy) -> CacheKey {
        self.key_with(routed, request, route, None)
    }

    fn key_with(
        &self,
        routed: &Routed,
        request: &CacheRequest<'_>,
        route: &RoutePolicy,
        head: Option<&str>,
    ) -> CacheKey {
        let routing = routed.routing(request, head);
        CacheKey::of_routed(
            &route.key,
            &request.target,
            &request.fields,
            &self.key_secret.secret,
            &routing,
        )
    }
}
