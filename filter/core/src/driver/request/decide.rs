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
        let Some(asked) = CacheRequest::read(Fields::from(header_map::parse(request))) else {
            return Event::Done(Flow::Continue);
        };
        let route = Rc::clone(self.policies.route(asked.target.authority, asked.target.path));
        exchange.route = Some(Rc::clone(&route));
        let target = &asked.target;
        exchange.ambiguous = route.cache && self.policies.is_ambiguous(target.authority, target.path);
        if asked.fields.get(b":method") == Some(b"PURGE") && !self.policies.settings.purge_sources.is_empty() {
            return Event::Done(self.purge_by_request(ctx, exchange, &asked));
        }
        if self.wants_content(ctx, exchange, &asked, &route) {
            return Event::WantsContent;
        }
        let content = exchange.content.key();
        let asked = asked.with_content(content.as_deref());
        *plan = match passes_by(exchange, &asked, &route) {
            Some(passes) => passes,
            None => match self.answer_from_cache(ctx, exchange, &asked, &route, turn.landed_since(), holds) {
                Ok(flow) => return Event::Done(flow),
                Err(plan) => plan,
            },
        };
        if holds.renews() {
            return Event::Renews;
        }
        match self.take_part(ctx, &asked, plan, &route, turn) {
            Part::Fetch(None) => {}
            Part::Fetch(flight) => holds.flight = flight,
            Part::Unshared(hash) => holds.unshared = Some(hash),
            Part::Failed(failed) => return Event::FetchFailed(failed),
            Part::Follow(follower) => return Event::Follows(follower),
        }
        let first = matches!(turn, Turn::First { .. });
        if first && plan.key.is_some() && route.tier {
            let directives = asked.directives(&route.freshness);
            if is_shareable(&asked, plan, &route, &directives) && self.wants_tier(ctx, &asked, &route, plan) {
                return Event::WantsTier;
            }
        }
        Event::Fetches
    }
}

/// How a request is forwarded that the cache has no part in; `None` for any other.
fn passes_by(exchange: &Exchange, asked: &CacheRequest<'_>, route: &RoutePolicy) -> Option<ForwardPlan> {
    let bypass = |detail| {
        Some(ForwardPlan {
            detail,
            ..ForwardPlan::plain(Forward::Bypass)
        })
    };
    if asked.is_upgrade() {
        bypass(Some(Reason::Upgrade.as_str()))
    } else if !route.cache {
        bypass(None)
    } else if exchange.ambiguous {
        bypass(Some(AMBIGUOUS))
    } else if !asked.method.is_cacheable() {
        Some(ForwardPlan {
            detail: exchange.content.refusal(),
            ..ForwardPlan::plain(Forward::Method)
        })
    } else {
        let unkeyed = || match asked.content {
            Some(_) => None,
            None => sharing::bypass_with_content(&asked.fields, exchange.content_follows),
        };
        let detail = sharing::bypass(&asked.fields).or_else(unkeyed)?;
        bypass(Some(detail))
    }
}
