//! What becomes of a request: answered from the cache, another's fetch to follow, the tier to ask, or one to forward.

use crate::cache::{Forward, sharing};
use crate::driver::exchange::Exchange;
use crate::driver::exchange::lifecycle::{Event, Flow, Turn};
use crate::driver::exchange::plan::{AMBIGUOUS, ForwardPlan, Pending};
use crate::driver::fetches::collapsing::{Part, is_shareable};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use std::rc::Rc;

impl Vm {
    /// Decides about a request; how it is forwarded goes into its plan, and what it then holds beside it.
    pub(super) fn decide(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        pending: &mut Pending,
        turn: Turn,
    ) -> Event {
        let Pending {
            request, plan, holds, ..
        } = pending;
        let Some(cache_request) = CacheRequest::read(Fields::from(header_map::parse(request))) else {
            return Event::Done(Flow::Continue);
        };
        let route = Rc::clone(
            self.policies
                .route(cache_request.target.authority, cache_request.target.path),
        );
        exchange.route = Some(Rc::clone(&route));
        let target = &cache_request.target;
        exchange.ambiguous = route.cache && self.policies.is_ambiguous(target.authority, target.path);
        if cache_request.fields.get(b":method") == Some(b"PURGE") && !self.policies.settings.purge_sources.is_empty() {
            return Event::Done(self.purge_by_request(ctx, exchange, &cache_request));
        }
        if self.wants_content(ctx, exchange, &cache_request, &route) {
            return Event::WantsContent;
        }
        let content = exchange.content.key();
        let cache_request = cache_request.with_content(content.as_deref());
        *plan = match passes_by(exchange, &cache_request, &route) {
            Some(passes) => passes,
            None => match self.answer_from_cache(ctx, exchange, &cache_request, &route, turn.landed_since(), holds) {
                Ok(flow) => return Event::Done(flow),
                Err(plan) => plan,
            },
        };
        if holds.renews() {
            return Event::Renews;
        }
        match self.take_part(ctx, &cache_request, plan, &route, turn) {
            Part::Fetch(None) => {}
            Part::Fetch(flight) => holds.flight = flight,
            Part::Unshared(hash) => holds.unshared = Some(hash),
            Part::Failed(failed) => return Event::FetchFailed(failed),
            Part::Follow(follower) => return Event::Follows(follower),
        }
        let first = matches!(turn, Turn::First { .. });
        if first && plan.key.is_some() && route.tier {
            let directives = cache_request.directives(&route.freshness);
            if is_shareable(&cache_request, plan, &route, &directives)
                && self.wants_tier(ctx, &cache_request, &route, plan)
            {
                return Event::WantsTier;
            }
        }
        Event::Fetches
    }
}

/// How a request is forwarded that the cache has no part in; `None` for any other.
fn passes_by(exchange: &Exchange, cache_request: &CacheRequest<'_>, route: &RoutePolicy) -> Option<ForwardPlan> {
    let bypass = |detail| {
        Some(ForwardPlan {
            detail,
            ..ForwardPlan::plain(Forward::Bypass)
        })
    };
    if cache_request.is_upgrade() {
        bypass(Some(Reason::Upgrade.as_str()))
    } else if !route.cache {
        bypass(None)
    } else if exchange.ambiguous {
        bypass(Some(AMBIGUOUS))
    } else if !cache_request.method.is_cacheable() {
        Some(ForwardPlan {
            detail: exchange.content.refusal(),
            ..ForwardPlan::plain(Forward::Method)
        })
    } else {
        let unkeyed = || match cache_request.content {
            Some(_) => None,
            None => sharing::bypass_with_content(&cache_request.fields, exchange.content_follows),
        };
        let detail = sharing::bypass(&cache_request.fields).or_else(unkeyed)?;
        bypass(Some(detail))
    }
}
