//! The request's headers: answer from the cache, or forward.

use super::brownout::{Shed, Turned};
use super::collapsing::{Follower, Lead, Part, Turn, is_shareable};
use super::ctx::Ctx;
use super::exchange::{Exchange, Flow, Forwarded, Phase, Refreshing, SharedExchange, Stored};
use super::header_map;
use super::host::{Host, MapKind};
use super::limiter::Place;
use super::vm::Vm;
use crate::breaker::Permit;
use crate::cache::{CacheKey, Forward, StoredView, sharing, validation};
use crate::collapse::Landing;
use crate::engine::Asked;
use crate::http::fields::Fields;
use crate::store::EntryId;
use optimizer_proto::v1::Outcome;
use std::rc::Rc;

/// How a request is forwarded.
#[derive(Debug)]
pub(super) struct Onward {
    pub(super) cause: Forward,
    pub(super) detail: Option<&'static str>,
    pub(super) key: Option<CacheKey>,
    pub(super) stored: Option<(Vec<u8>, EntryId)>,
    pub(super) validate: bool,
}

impl Onward {
    pub(super) fn plain(cause: Forward) -> Self {
        Self {
            cause,
            detail: None,
            key: None,
            stored: None,
            validate: false,
        }
    }
}

/// Leave to call the upstream.
#[derive(Debug)]
pub(super) struct Leave {
    /// It holds a place within the upstream's concurrency limit.
    pub(super) placed: bool,
    pub(super) permits: Vec<Permit>,
    pub(super) refreshing: Option<Refreshing>,
}

impl Vm {
    /// The request's headers came.
    pub fn on_request_headers(&mut self, host: &impl Host, shared: &SharedExchange, context: u32) -> Flow {
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return Flow::Continue;
        };
        let started_ns = host.now_ns();
        let now_ms = started_ns / 1_000_000;
        exchange.started_ns = started_ns;
        exchange.sampled = is_sampled(started_ns);
        self.join(Ctx::new(host, now_ms));
        exchange.policies = Some(Rc::clone(&self.policies));
        let Ok(map) = host.header_map(MapKind::Request) else {
            return Flow::Continue;
        };
        let turn = Turn::First {
            may_follow: self.waiting.has_room(),
            since_ms: now_ms,
            retried: false,
        };
        let flow = self.answer_or_forward(Ctx::new(host, now_ms), &mut exchange, map, turn);
        if let Phase::Waiting(follower) = &exchange.phase {
            self.waiting.add(follower, context, shared);
        }
        let queued = matches!(exchange.phase, Phase::Queued { .. }).then(|| exchange.upstream.clone());
        let asking = matches!(exchange.phase, Phase::Asking { .. });
        exchange.note_inside(host, started_ns);
        drop(exchange);
        if asking {
            self.ask_tier(Ctx::new(host, now_ms), context, shared);
        }
        if let Some(upstream) = queued {
            self.queue_for_place(Ctx::new(host, now_ms), context, shared, &upstream);
        }
        flow
    }

    pub(super) fn answer_or_forward(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: Vec<u8>,
        turn: Turn,
    ) -> Flow {
        let Some(asked) = Asked::read(Fields::from(header_map::parse(&map))) else {
            return Flow::Continue;
        };
        let route = Rc::clone(self.policies.route(asked.target.authority, asked.target.path));
        exchange.route = Some(Rc::clone(&route));
        exchange.host = xxhash_rust::xxh3::xxh3_64(asked.target.authority);
        let target = &asked.target;
        exchange.ambiguous = route.cache && self.policies.is_ambiguous(target.authority, target.path);
        if asked.fields.get(b":method") == Some(b"PURGE") && !self.policies.purge_sources.is_empty() {
            return self.purge_by_request(ctx, exchange, &asked);
        }
        let mut onward = if asked.is_upgrade() {
            Onward {
                detail: Some("upgrade"),
                ..Onward::plain(Forward::Bypass)
            }
        } else if !route.cache {
            Onward::plain(Forward::Bypass)
        } else if exchange.ambiguous {
            Onward {
                detail: Some(AMBIGUOUS),
                ..Onward::plain(Forward::Bypass)
            }
        } else if !asked.method.is_cacheable() {
            Onward::plain(Forward::Method)
        } else if let Some(detail) = sharing::bypass(&asked.fields, exchange.content_follows) {
            Onward {
                detail: Some(detail),
                ..Onward::plain(Forward::Bypass)
            }
        } else {
            match self.answer_from_cache(ctx, exchange, &asked, &route, turn.landed_since()) {
                Ok(flow) => return flow,
                Err(onward) => onward,
            }
        };
        if let Some(renewal) = exchange.renewal.take() {
            return self.send_renewal(ctx, exchange, map, onward, renewal);
        }
        let directives = asked.directives(&route.freshness);
        let flight = match self.take_part(ctx, &asked, &onward, &route, turn) {
            Part::Fetch(flight) => flight,
            Part::Unshared(hash) => {
                exchange.unshared = Some(hash);
                None
            }
            Part::Failed(failed) => return self.answer_failed(ctx, exchange, &map, &onward, failed),
            Part::Follow {
                hash,
                since_ms,
                retried,
            } => {
                let follower = Follower {
                    request: map,
                    hash,
                    since_ms,
                    retried,
                };
                return Self::follow(exchange, follower);
            }
        };
        let first = matches!(turn, Turn::First { .. });
        if first
            && onward.key.is_some()
            && is_shareable(&asked, &onward, &route, &directives)
            && self.wants_tier(&asked, &route, &mut onward, ctx.now_ms)
        {
            exchange.phase = Phase::Asking {
                request: map,
                onward: Box::new(onward),
                flight,
                birth: self.stamps.birth(),
            };
            return Flow::Pause;
        }
        self.forward(ctx, exchange, map, onward, flight)
    }

    pub(super) fn forward(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: Vec<u8>,
        onward: Onward,
        mut flight: Option<Lead>,
    ) -> Flow {
        if exchange.routed.is_none() {
            let cluster = ctx.host.property(b"xds\0cluster_name").unwrap_or_default();
            exchange.upstream = String::from_utf8_lossy(&cluster).into_owned();
        }
        match self.take_place(ctx, &exchange.upstream, true) {
            Place::Wait => {
                exchange.phase = Phase::Queued {
                    request: map,
                    onward: Box::new(onward),
                    flight,
                };
                Flow::Pause
            }
            Place::Full => {
                self.land(ctx, &mut flight, Landing::Released);
                self.shed(ctx, exchange, &map, &onward, &Shed::over_limit())
            }
            place => self.forward_placed(ctx, exchange, map, onward, flight, place),
        }
    }

    /// Forwards a request that has its place within the concurrency limit.
    pub(super) fn forward_placed(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: Vec<u8>,
        onward: Onward,
        mut flight: Option<Lead>,
        place: Place,
    ) -> Flow {
        let placed = place == Place::Taken;
        let permits = match self.admit_or_serve(ctx, exchange, &map, &onward) {
            Ok(permits) => permits,
            Err(turned) => {
                if placed {
                    self.give_place(ctx.host, &exchange.upstream.clone(), None);
                }
                self.land(ctx, &mut flight, Landing::Released);
                return match turned {
                    Turned::Answered(flow) => flow,
                    Turned::Away(refusal) => self.shed(ctx, exchange, &map, &onward, &Shed::from(refusal)),
                };
            }
        };
        self.pass_on(
            ctx,
            exchange,
            map,
            onward,
            flight,
            Leave {
                placed,
                permits,
                refreshing: None,
            },
        )
    }

    /// Sends a request on that has leave to call.
    pub(super) fn pass_on(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: Vec<u8>,
        onward: Onward,
        flight: Option<Lead>,
        leave: Leave,
    ) -> Flow {
        let validating = onward.validate
            && onward
                .stored
                .as_ref()
                .is_some_and(|(bytes, _)| self.add_validators(ctx, exchange, bytes, &map));
        if onward.key.is_some() {
            // Tells an origin that speaks Surrogate-Control whom it may address; a host that refuses costs only that.
            let _ = ctx
                .host
                .add_header(MapKind::Request, b"surrogate-capability", SURROGATE_CAPABILITY);
        }
        exchange.outcome = if onward.key.is_some() {
            Outcome::Miss
        } else {
            Outcome::Bypass
        };
        exchange.upstream_requests = 1;
        let fence = exchange
            .route
            .as_ref()
            .filter(|route| self.tier_may_take(route))
            .and_then(|route| self.tier_fence(route, &Fields::from(header_map::parse(&map))));
        let request = Rc::new(map);
        exchange.came = onward.key.is_some().then(|| Rc::clone(&request));
        exchange.phase = Phase::Forwarded(Box::new(Forwarded {
            request,
            key: onward.key,
            cause: onward.cause,
            detail: onward.detail,
            stored: onward.stored.map(|(bytes, id)| Stored { bytes, id }),
            validating,
            birth: self.stamps.birth(),
            fence,
            sent_ms: ctx.now_ms,
            answered_after_ms: None,
            status: 0,
            from_origin: false,
            certain: false,
            ended: false,
            permits: leave.permits,
            verdict: super::verdict::Verdict::default(),
            placed: leave.placed,
            flight,
            unshared: exchange.unshared.take(),
            capture: None,
            held: None,
            refreshing: leave.refreshing,
        }));
        Flow::Continue
    }
}

/// Servers disagree on which route the request belongs to.
pub(super) const AMBIGUOUS: &str = "ambiguous-path";

/// One stream in eight, by chance as the clock has it, so that no pattern in the traffic decides.
fn is_sampled(started_ns: u64) -> bool {
    // The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): one multiplication alone would keep an even rhythm even.
    let mixed = (started_ns ^ (started_ns >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) >> 61 == 0
}

pub(super) const SURROGATE_CAPABILITY: &[u8] = b"api-optimizer=\"Surrogate/1.0\"";

impl Vm {
    /// Puts the stored response's validators in place of the client's conditions. A range stays: where what is stored is no longer
    /// current, the client gets its part of what is. False when there is no validator.
    fn add_validators(&self, ctx: Ctx<'_, impl Host>, exchange: &Exchange, stored: &[u8], request: &[u8]) -> bool {
        let Ok(view) = StoredView::decode(stored, false) else {
            return false;
        };
        let conditional = validation::conditional(&view, &Fields::from(header_map::parse(request)));
        if conditional.is_empty() || !self.may_be_validated(ctx, exchange, &view) {
            return false;
        }
        for name in validation::Conditional::REPLACED {
            // Removing what is not there is no error worth a word.
            let _ = ctx.host.remove_header(MapKind::Request, name);
        }
        let set = |name: &[u8], value: Option<&[u8]>| match value {
            Some(value) => ctx.host.replace_header(MapKind::Request, name, value).is_ok(),
            None => true,
        };
        set(b"if-none-match", conditional.if_none_match.as_deref())
            && set(b"if-modified-since", conditional.if_modified_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_in_eight_is_sampled() {
        let sampled = (0..80_000_u64)
            .filter(|at| is_sampled(1_764_000_000_000_000_000 + at * 1_000))
            .count();
        assert!((9_000..11_000).contains(&sampled), "{sampled}");
    }
}
