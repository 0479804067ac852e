//! Learning what Envoy makes of requests and replies after the filter, at the end of streams.

use crate::Millis;
use crate::driver::exchange::Exchange;
use crate::driver::exchange::destination::Routed;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, LogLevel, MapKind};
use crate::driver::routes::unsound::is_chosen_by_metadata;
use crate::driver::state::forwarding::Knowledge;
use crate::driver::state::learned_routes::LearnedRoutes;
use crate::driver::vm::Vm;
use crate::http::fields::Line;
use crate::http::head;
use crate::learned::AUTHORITY;
use crate::reason::Reason;
use xxhash_rust::xxh3::xxh3_64;

impl LearnedRoutes {
    /// Whether one of these fields is given to requests of this cluster and route behind the filter, as was lately seen: what is selected
    /// by it is for nobody else, though a request may come without.
    pub(crate) fn is_given_behind<'n>(
        &self,
        routed: Option<&Routed>,
        mut names: impl Iterator<Item = &'n [u8]>,
        now_ms: Millis,
    ) -> bool {
        let Some(routed) = routed.filter(|_| !self.given.is_empty()) else {
            return false;
        };
        let pair = xxh3_64(&routed.pair);
        names.any(|name| self.given.of(pair, now_ms).any(|given| given == name))
    }
}

impl Vm {
    /// The stream is over: learns how its request left Envoy, where that is not known or the stream stored something, and of some
    /// others. False when its response, selected by these fields, must not be stored: it depends on what the key does not know.
    pub(crate) fn learn_forwarding(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        vary: &[Vec<u8>],
    ) -> bool {
        let looks = exchange.stores || is_looked_at(exchange);
        if (looks || exchange.sampled) && exchange.routed.is_some() && is_chosen_by_metadata(ctx.host, exchange) {
            self.distrust(ctx, exchange, Reason::ChosenByMetadata);
            return false;
        }
        let (Some(came), Some(routed)) = (exchange.came.take(), &exchange.routed) else {
            return true;
        };
        let known = self.learned.forwarding.of(&routed.pair);
        let look = match known {
            Knowledge::Unknown => true,
            Knowledge::Unchanged => looks,
            Knowledge::Changed => exchange.stores,
        };
        if !look || !exchange.reached {
            return true;
        }
        let address = ctx
            .host
            .property(b"upstream\0address")
            .filter(|address| !address.is_empty());
        // A cluster of the kind ORIGINAL_DST sends a request where its client connected to: from now on the key says where that is.
        if routed.listener.is_empty() && address.is_some() && address == ctx.host.property(b"destination\0address") {
            if self.learned.forwarding.went_by_destination(ctx.host, &routed.pair) {
                self.announce_forwarding(ctx);
            }
            return false;
        }
        let Ok(left) = ctx.host.header_map(MapKind::Request) else {
            return true;
        };
        let (came, left) = (header_map::parse(&came), header_map::parse(&left));
        // A filter behind this one may have had the route chosen anew.
        let is_other = |path: &[u8], known: &[u8]| ctx.host.property(path).is_some_and(|now| now != known);
        let elsewhere = is_other(b"xds\0cluster_name", &routed.cluster) || is_other(b"xds\0route_name", &routed.route);
        let changed = elsewhere || !head::left_unchanged(&came, &left);
        if self
            .learned
            .forwarding
            .learn(ctx.host, &routed.pair, changed, ctx.now_ms)
        {
            self.announce_forwarding(ctx);
        }
        if elsewhere {
            self.distrust(ctx, exchange, Reason::RoutedAnew);
            return false;
        }
        // One that takes the address from a field, or another policy that does.
        let keyed = exchange.route.as_ref().map_or(&[][..], |route| &route.key.headers);
        let is_brought = address.is_some_and(|address| head::brings_address(&came, &address, keyed));
        !(changed || is_brought) || !self.depends_on_given(ctx, exchange, (&came, &left), is_brought, vary)
    }

    /// Whether a response may depend on what its request was given behind the filter, or on the address that it brought; remembers what
    /// such requests are given.
    fn depends_on_given(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &Exchange,
        (came, left): (&[Line<'_>], &[Line<'_>]),
        is_brought: bool,
        vary: &[Vec<u8>],
    ) -> bool {
        let (Some(routed), Some(route)) = (&exchange.routed, &exchange.route) else {
            return false;
        };
        let mut given: Vec<Vec<u8>> = head::given_behind(came, left).into_iter().map(<[u8]>::to_vec).collect();
        if is_brought || head::takes_authority_from_field(came, left, &route.key.headers) {
            given.push(AUTHORITY.to_vec());
        }
        let depends = given.iter().any(|name| name == AUTHORITY || vary.contains(name));
        if !given.is_empty() {
            let pair = xxh3_64(&routed.pair);
            let is_new = |name: &Vec<u8>| !self.learned.given.of(pair, ctx.now_ms).any(|known| known == name);
            let changed = given.iter().any(is_new);
            self.learned.given.learn(ctx.host, pair, &given, ctx.now_ms);
            if changed {
                self.announce_forwarding(ctx);
            }
        }
        depends
    }

    /// Whether a response, selected by these fields, is stored only once it is known how its request left Envoy.
    pub(crate) fn waits_for_end(&self, routed: Option<&Routed>, vary: &[Vec<u8>], now_ms: Millis) -> bool {
        let Some(routed) = routed else { return false };
        if vary.iter().any(|name| !head::is_usually_of_clients(name)) {
            return true;
        }
        match self.learned.forwarding.of(&routed.pair) {
            Knowledge::Unknown => true,
            Knowledge::Unchanged | Knowledge::Changed => {
                self.learned
                    .is_given_behind(Some(routed), std::iter::once(AUTHORITY), now_ms)
            }
        }
    }

    /// The reply of a filter came back with another content than it was made with.
    pub(crate) fn reply_was_rewritten(&mut self, ctx: Ctx<'_, impl Host>) {
        self.recorder.reason(Reason::ReplyRewritten);
        let changed = self
            .learned
            .forwarding
            .change(ctx.host, |record| !std::mem::replace(&mut record.rewritten, true));
        if changed {
            ctx.host.log(
                LogLevel::Error,
                "this Envoy rewrites what the filter answers (local_reply_config or a filter): the cache is not used any more",
            );
            self.announce_forwarding(ctx);
        }
    }
}

/// One in eight of the sampled streams, one in 64 of all: two host calls that move a head each.
fn is_looked_at(exchange: &Exchange) -> bool {
    exchange.sampled && xxh3_64(&exchange.started_ns.to_le_bytes()) >> 61 == 0
}
