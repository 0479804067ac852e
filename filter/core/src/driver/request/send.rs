//! Sending a request on to its upstream.

use crate::cache::{StoredView, validation};
use crate::driver::exchange::plan::{Pending, SURROGATE_CAPABILITY};
use crate::driver::exchange::verdict::{Pace, Verdict};
use crate::driver::exchange::{Exchange, Forwarded};
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use optimizer_proto::v1::Outcome;
use std::rc::Rc;

impl Vm {
    /// Forwards a request that has its call permit.
    pub(super) fn send(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange, pending: Pending) {
        let Pending {
            request: map,
            plan,
            holds,
            ..
        } = pending;
        let validating = plan.validate
            && plan
                .stored
                .as_ref()
                .is_some_and(|held| self.add_validators(ctx, exchange, &held.bytes, &map));
        if plan.key.is_some() {
            // Tells an origin that speaks Surrogate-Control whom it may address; a host that refuses costs only that.
            let _ = ctx
                .host
                .add_header(MapKind::Request, b"surrogate-capability", SURROGATE_CAPABILITY);
        }
        exchange.outcome = if plan.key.is_some() {
            Outcome::Miss
        } else {
            Outcome::Bypass
        };
        exchange.upstream_requests = 1;
        if let Some(verify) = &self.policies.verify {
            self.verifying.budget.earn(&exchange.upstream, verify.origin_percent);
        }
        let fence = exchange
            .route
            .as_ref()
            .filter(|route| self.tier.tier_may_take(route))
            .and_then(|route| self.tier.tier_fence(route, &Fields::from(header_map::parse(&map))));
        let request = Rc::new(map);
        exchange.came = plan.key.is_some().then(|| Rc::clone(&request));
        exchange.phase.forward(Box::new(Forwarded {
            request,
            key: plan.key,
            searched: None,
            may_be_searched: !self.learned.searches.is_empty(),
            cause: plan.cause,
            detail: plan.detail,
            stored: plan.stored,
            validating,
            purge_generation: self.invalidation_log.purge_generation(),
            fence,
            sent_ms: ctx.now_ms,
            answered_after_ms: None,
            status: 0,
            from_origin: false,
            certain: false,
            ended: false,
            permits: holds.leave.permits,
            verdict: Verdict::default(),
            placed: holds.leave.placed,
            flight: holds.flight,
            unshared: holds.unshared,
            capture: None,
            given_behind: false,
            provisional: None,
            pace: Pace::default(),
            refreshing: holds.leave.refreshing,
        }));
    }

    /// Puts the stored response's validators in place of the client's conditions. A range stays: where what is stored is no longer
    /// current, the client gets its part of what is. False when there is no validator.
    fn add_validators(&self, ctx: Ctx<'_, impl Host>, exchange: &Exchange, stored: &[u8], request: &[u8]) -> bool {
        let Ok(view) = StoredView::decode(stored, false) else {
            return false;
        };
        let conditional = validation::conditional(&view, &Fields::from(header_map::parse(request)));
        if conditional.is_empty() || !self.learned.may_be_validated(ctx, exchange, &view) {
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
