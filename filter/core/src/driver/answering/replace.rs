//! What is stored in place of what came: stale for a failure, freshened for a 304; and what an answer to HEAD says about it.

use crate::Millis;
use crate::breaker::OutcomeClass;
use crate::cache::reply::{self, Answer};
use crate::cache::reuse::{self, Action, Failure, Reuse, ReuseReason};
use crate::cache::sharing::{ClientState, SharingPolicy, is_client_state, is_for_this_exchange};
use crate::cache::status_field::CacheStatus;
use crate::cache::validation::{self, Freshened, HeadEffect};
use crate::cache::{self, StoredView, storability};
use crate::collapse::FetchOutcome;
use crate::driver::exchange::{Exchange, Flow, Forwarded};
use crate::driver::fetches::refresh::would_answer;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::reply::answer::Served;
use crate::driver::reply::brownout::failure_status;
use crate::driver::vm::Vm;
use crate::engine::{CacheRequest, Decision};
use crate::http::fields::{Fields, Line};
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use crate::store::TRAILER_LEN;
use optimizer_proto::codes::InvalidationCause;
use optimizer_proto::v1::Outcome;
use std::rc::Rc;

impl Vm {
    /// Serves the stored response in place of a failure, where its staleness is allowed.
    pub(crate) fn stale_instead(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        cache_request: &CacheRequest<'_>,
        failure: Failure,
        class: OutcomeClass,
    ) -> Option<Flow> {
        let route = exchange.route.clone()?;
        // An operator may have purged it while the upstream failed.
        let stored = forwarded.stored.as_ref().filter(|held| self.still_serves(held))?;
        let view = StoredView::decode(&stored.bytes, false).ok()?;
        let directives = cache_request.directives(&route.freshness);
        let renewed = forwarded
            .refreshing
            .and_then(|refreshing| would_answer(&view, &directives, refreshing, ctx.now_ms));
        let reuse = match renewed {
            Some(reuse) => reuse,
            None => reuse::on_failure(&view, &directives, &route.freshness, failure, ctx.now_ms)?,
        };
        let reply = match cache::reply::build(
            &view,
            &reuse,
            cache_request.method,
            &cache_request.fields,
            exchange.started_ns,
            ctx.now_ms,
        ) {
            cache::reply::Answer::Reply(reply) => reply,
            cache::reply::Answer::AskOrigin => return None,
        };
        let status = CacheStatus {
            ttl_s: Some(reuse.ttl_s),
            forward: Some(forwarded.cause),
            forward_status: Some(forwarded.status).filter(|status| *status > 0),
            detail: Some(reuse.reason.as_str()),
            ..CacheStatus::default()
        };
        let proxy_status = failure_status(class).unwrap_or_default();
        let more: [(&[u8], &[u8]); 1] = [(b"proxy-status", proxy_status.as_bytes())];
        let outcome = if reuse.ttl_s < 0 { Outcome::Stale } else { Outcome::Hit };
        let served = Served {
            view: &view,
            reply: &reply,
            status,
            outcome,
            more: &more,
            memory: Some(&stored.bytes),
        };
        let flow = self.answer(ctx.host, exchange, &served);
        (flow == Flow::Pause).then_some(flow)
    }

    /// A 304 to our validation: freshen what is stored and answer with it.
    pub(crate) fn freshen(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        cache_request: &CacheRequest<'_>,
        seen: &storability::Exchange<'_>,
        route: &Rc<RoutePolicy>,
    ) -> Option<Flow> {
        let held = forwarded.stored.take()?;
        let view = StoredView::decode(&held.bytes, false).ok()?;
        // What the 304 says to this client alone goes with the answer.
        let own = own_lines(seen.response, &route.freshness.sharing);
        let (bytes, keep) = match validation::freshen(&view, seen, &route.freshness, exchange.started_ns, TRAILER_LEN) {
            Freshened::Store { bytes, usable_until_ms } => (bytes, Some(usable_until_ms)),
            Freshened::ServeOnly { bytes } => (bytes, None),
            Freshened::Clients => {
                self.store.discard(ctx.host, held.id);
                return None;
            }
            Freshened::Other => {
                self.store.discard(ctx.host, held.id);
                return self.answer_once(ctx, exchange, forwarded, cache_request, &view, &own);
            }
        };
        let fresh = StoredView::decode(&bytes, false).ok()?;
        let directives = crate::cache::request_directives::RequestDirectives::default();
        let decision = crate::engine::decide(
            &fresh,
            cache_request,
            &directives,
            false,
            exchange.started_ns,
            ctx.now_ms,
        );
        self.validated(route, view.response_time_ms(), false, ctx.now_ms);
        let (reply, reuse) = match decision {
            Decision::Reply { reply, reuse, .. } => (reply, reuse),
            // Validated this moment, it answers this request even where it may not answer the next one without asking again.
            _ => {
                let reuse = reuse::Reuse {
                    action: reuse::Action::Serve,
                    reason: reuse::ReuseReason::Fresh,
                    age_s: fresh.age_ms(ctx.now_ms) / 1000,
                    ttl_s: 0,
                };
                match cache::reply::build(
                    &fresh,
                    &reuse,
                    cache_request.method,
                    &cache_request.fields,
                    exchange.started_ns,
                    ctx.now_ms,
                ) {
                    cache::reply::Answer::Reply(reply) => (reply, reuse),
                    cache::reply::Answer::AskOrigin => return None,
                }
            }
        };
        let status = CacheStatus {
            ttl_s: Some(reuse.ttl_s),
            forward: Some(forwarded.cause),
            forward_status: Some(304),
            stored: keep.is_some(),
            detail: forwarded.detail,
            ..CacheStatus::default()
        };
        let served = Served {
            view: &fresh,
            reply: &reply,
            status,
            outcome: Outcome::Revalidated,
            more: &own,
            memory: None,
        };
        let flow = self.answer(ctx.host, exchange, &served);
        drop(reply);
        match keep {
            Some(usable_until_ms) => {
                self.store_bytes(ctx, forwarded, bytes, usable_until_ms);
                self.flights.learn_stored(ctx, route);
                self.complete_fetch(ctx, &mut forwarded.flight, FetchOutcome::Stored);
            }
            None => {
                self.store.discard(ctx.host, held.id);
                self.complete_fetch(ctx, &mut forwarded.flight, FetchOutcome::NotShareable);
            }
        }
        Some(flow)
    }

    /// Answers a request that asked no condition with what is stored, after a 304 that the stored validators caused and that names
    /// another response. The filter cannot send the request again.
    fn answer_once(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        forwarded: &Forwarded,
        cache_request: &CacheRequest<'_>,
        view: &StoredView<'_>,
        own: &[Line<'_>],
    ) -> Option<Flow> {
        self.recorder.reason(Reason::ValidatorMismatch);
        let reuse = Reuse {
            action: Action::Serve,
            reason: ReuseReason::Stale,
            age_s: view.age_ms(ctx.now_ms) / 1_000,
            ttl_s: 0,
        };
        let built = reply::build(
            view,
            &reuse,
            cache_request.method,
            &cache_request.fields,
            exchange.started_ns,
            ctx.now_ms,
        );
        let Answer::Reply(reply) = built else {
            return None;
        };
        let status = CacheStatus {
            forward: Some(forwarded.cause),
            forward_status: Some(304),
            detail: Some(Reason::ValidatorMismatch.as_str()),
            ..CacheStatus::default()
        };
        let served = Served {
            view,
            reply: &reply,
            status,
            outcome: Outcome::Revalidated,
            more: own,
            memory: None,
        };
        Some(self.answer(ctx.host, exchange, &served))
    }

    /// Learns from a validation how often the content of a route changes.
    pub(crate) fn validated(&mut self, route: &RoutePolicy, responded_ms: Millis, changed: bool, now_ms: Millis) {
        let name = self.recorder.name(&route.name);
        self.recorder
            .validated(name, changed, now_ms.saturating_sub(responded_ms));
        self.recorder
            .gone(InvalidationCause::RevalidatedAway, u64::from(changed));
    }

    pub(crate) fn compare_head(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        forwarded: &Forwarded,
        seen: &storability::Exchange<'_>,
        route: &RoutePolicy,
    ) {
        let Some(key) = &forwarded.key else { return };
        let super::from_cache::Lookup::Usable { found, .. } = self.find(ctx, key, seen.request, route) else {
            return;
        };
        let Ok(view) = StoredView::decode(found.value(), false) else {
            return;
        };
        match validation::head(&view, seen, &route.freshness, ctx.now_ms, TRAILER_LEN) {
            HeadEffect::Store { bytes, usable_until_ms } => {
                self.store_bytes(ctx, forwarded, bytes, usable_until_ms);
                self.flights.learn_stored(ctx, route);
            }
            HeadEffect::Invalidate => {
                self.recorder.invalidated(InvalidationCause::HeadDiffers);
                self.store.discard(ctx.host, found.id);
            }
            HeadEffect::Nothing => {}
        }
    }

    /// Replaces a stored response by its freshened form.
    fn store_bytes(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &Forwarded, bytes: Vec<u8>, usable_until_ms: Millis) {
        let Ok(view) = StoredView::decode(&bytes, false) else {
            return;
        };
        let vary: Vec<Vec<u8>> = view.selecting().map(|(name, _)| name.to_vec()).collect();
        self.store_value(ctx, forwarded, bytes, &vary, usable_until_ms);
    }
}

/// Lines of a 304 that are for this client alone, where they are not merged into what is stored.
fn own_lines<'a>(response: &Fields<'a>, sharing: &SharingPolicy) -> Vec<Line<'a>> {
    let shares_state = sharing.client_state == ClientState::Share;
    response
        .iter()
        .filter(|(name, _)| is_for_this_exchange(name) && !(shares_state && is_client_state(name)))
        .collect()
}
