//! Requests of our own: refreshing a stale response after it was served (RFC 5861 section 3).
//!
//! They are dispatched from root callbacks only: the SDK drops the answer of a call made in a stream that is over by then. A
//! stream puts its work into a list and wakes its own VM by its queue, which runs within about a millisecond.

use crate::Millis;
use crate::breaker::{self, OutcomeClass};
use crate::cache::validation::{self, Freshened};
use crate::cache::{CacheKey, Encoder, Framing, NotStored, StoredView, storability};
use crate::collapse::{Failed, FetchOutcome};
use crate::driver::exchange::Exchange;
use crate::driver::exchange::guarded::has_hidden_credentials;
use crate::driver::exchange::plan::SURROGATE_CAPABILITY;
use crate::driver::fetches::refresh;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::shared::wake::Wake;
use crate::driver::state::forwarding::Knowledge;
use crate::driver::state::refreshes::{CALL_TIMEOUT, Refresh, goes_along};
use crate::driver::upstream::origin::is_end_marked;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::limit::Place;
use crate::reason::Reason;
use crate::store::{Found, TRAILER_LEN};
use std::rc::Rc;

/// Refreshes that wait at most; beyond that a stale response is simply refreshed by a later request.
const MAX_WAITING: usize = 256;
/// Refreshes under way at once in one VM.
const MAX_CALLS: usize = 32;

impl Vm {
    /// Notes that what was just served is to be refreshed; one VM of the Envoy does it.
    pub(crate) fn refresh_later(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &Exchange,
        cache_request: &CacheRequest<'_>,
        key: &CacheKey,
        found: Found,
    ) {
        if cache_request.method != Method::Get
            || cache_request.content.is_some()
            || self.background.waiting.len() >= MAX_WAITING
        {
            return;
        }
        let Some(routed) = exchange.routed.as_ref() else { return };
        if self
            .learned
            .forwarding
            .foreground(&routed.pair, key.hash(), ctx.now_ms)
            .is_some()
            || breaker::is_resting(ctx.host, &exchange.upstream, &self.policies.breaker, ctx.now_ms)
        {
            return;
        }
        let Some(flight) = self.lead_refresh(ctx, key.hash()) else {
            return;
        };
        let mut map = header_map::MapWriter::with_capacity(cache_request.fields.len(), 1024);
        for (name, value) in cache_request.fields.iter().filter(|(name, _)| goes_along(name)) {
            map.push(name, value);
        }
        map.push(b"surrogate-capability", SURROGATE_CAPABILITY);
        let route = Rc::clone(
            self.policies
                .route(cache_request.target.authority, cache_request.target.path),
        );
        let id = found.id;
        let fence = self.tier.tier_fence(&route, &cache_request.fields);
        self.background.waiting.push_back(Refresh {
            cluster: exchange.upstream.to_string(),
            pair: routed.pair.clone(),
            request: map.finish(),
            key: key.clone(),
            stored: found.into_value(),
            id,
            route,
            purge_generation: self.invalidation_log.purge_generation(),
            marked: is_end_marked(ctx.host),
            hidden_credentials: has_hidden_credentials(ctx.host, &cache_request.fields),
            fence,
            sent_ms: ctx.now_ms,
            permits: Vec::new(),
            placed: false,
            flight: Some(flight),
        });
        // Without a wake-up the next tick does it.
        let _ = ctx.host.enqueue(self.queue, &[Wake::Work.byte()]);
    }

    /// Starts what waits. In root callbacks only.
    pub(crate) fn run_background(&mut self, ctx: Ctx<'_, impl Host>) {
        self.run_verification(ctx);
        while self.background.calls.len() < MAX_CALLS {
            let Some(mut refresh) = self.background.waiting.pop_front() else {
                return;
            };
            refresh.sent_ms = ctx.now_ms;
            match self.dispatch(ctx, &mut refresh) {
                Some(token) => {
                    self.recorder.cache.refreshes += 1;
                    drop(self.background.calls.insert(token, refresh));
                }
                None => self.complete_fetch(ctx, &mut refresh.flight, FetchOutcome::Released),
            }
        }
    }

    fn dispatch(&mut self, ctx: Ctx<'_, impl Host>, refresh: &mut Refresh) -> Option<u32> {
        // Nobody waits for it: it takes no place that a client could have, and lets a recovering upstream recover.
        let place = self.take_place(ctx, &refresh.cluster, false);
        refresh.placed = place == Place::Taken;
        if matches!(place, Place::Full | Place::Wait) {
            return None;
        }
        let own = refresh.route.own_breaker.then_some(refresh.route.name.as_str());
        match self.admit_to(ctx, &refresh.cluster, own, true) {
            Ok(permits) => refresh.permits = permits,
            Err(_) => {
                self.leave_place(ctx.host, refresh, None);
                return None;
            }
        }
        let view = StoredView::decode(&refresh.stored, false).ok();
        let conditional = view
            .as_ref()
            .map(|view| validation::conditional(view, &Fields::default()))
            .unwrap_or_default();
        let mut fields: Vec<(&str, &[u8])> = header_map::parse(&refresh.request)
            .into_iter()
            .filter_map(|(name, value)| std::str::from_utf8(name).ok().map(|name| (name, value)))
            .collect();
        fields.extend(
            conditional
                .if_none_match
                .as_deref()
                .map(|value| ("if-none-match", value)),
        );
        fields.extend(conditional.if_modified_since.map(|value| ("if-modified-since", value)));
        let called = ctx.host.call(&refresh.cluster, fields, CALL_TIMEOUT);
        if called.is_err() {
            self.call_not_made(ctx, refresh);
        }
        called.ok()
    }

    fn call_not_made(&mut self, ctx: Ctx<'_, impl Host>, refresh: &mut Refresh) {
        self.leave_place(ctx.host, refresh, None);
        let permits = std::mem::take(&mut refresh.permits);
        self.settle(ctx, permits, OutcomeClass::Local, 0);
        self.learned
            .forwarding
            .background_failed(refresh.key.hash(), ctx.now_ms);
    }

    /// A background request could not be started after all: what `Callouts::call` would have refused, had the host known.
    pub fn on_call_refused(&mut self, host: &impl Host, token: u32) {
        let ctx = Ctx::new(host, host.now_ns() / 1_000_000);
        if self.check_not_made(ctx, token) || self.verification_not_made(ctx, token) {
            return;
        }
        if let Some(mut refresh) = self.background.calls.remove(&token) {
            self.call_not_made(ctx, &mut refresh);
            self.complete_fetch(ctx, &mut refresh.flight, FetchOutcome::Released);
            self.run_background(ctx);
        }
    }

    fn leave_place(&mut self, host: &impl Host, refresh: &mut Refresh, took_ms: Option<Millis>) {
        if std::mem::take(&mut refresh.placed) {
            self.give_place(host, &refresh.cluster, took_ms);
        }
    }

    /// The answer to a background request; without fields it failed.
    pub fn on_call_response(&mut self, host: &impl Host, token: u32, fields: usize, body_size: usize) {
        let now_ms = host.now_ns() / 1_000_000;
        let ctx = Ctx::new(host, now_ms);
        if self.take_checked(ctx, token, fields) || self.take_verified(ctx, token, fields, body_size) {
            return;
        }
        let Some(mut refresh) = self.background.calls.remove(&token) else {
            return;
        };
        let map = if fields == 0 {
            Vec::new()
        } else {
            host.header_map(MapKind::CallResponse).unwrap_or_default()
        };
        let response = Fields::from(header_map::parse(&map));
        let status = response
            .get(b":status")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let took_ms = now_ms.saturating_sub(refresh.sent_ms);
        self.leave_place(host, &mut refresh, Some(took_ms));
        let permits = std::mem::take(&mut refresh.permits);
        self.settle_background(Ctx::new(host, now_ms), permits, &refresh.cluster, status, took_ms);
        match status.filter(|status| *status < 500) {
            Some(status) if self.is_as_a_client_would_get(&refresh, status, &response, now_ms) => {
                self.take_refreshed(Ctx::new(host, now_ms), &refresh, status, &response, body_size);
            }
            Some(_) => {}
            None => self.learned.forwarding.background_failed(refresh.key.hash(), now_ms),
        }
        let fetched = match status {
            None | Some(500 | 502 | 503 | 504) => FetchOutcome::Failed(Failed {
                status: status.unwrap_or(502),
                unreachable: status.is_none(),
            }),
            Some(_) => FetchOutcome::Stored,
        };
        self.complete_fetch(Ctx::new(host, now_ms), &mut refresh.flight, fetched);
        self.run_background(Ctx::new(host, now_ms));
    }

    /// Whether the answer has passed nothing that a client's would not: else what is stored came by another way, and so must what
    /// replaces it.
    fn is_as_a_client_would_get(
        &mut self,
        refresh: &Refresh,
        status: u16,
        response: &Fields<'_>,
        now_ms: Millis,
    ) -> bool {
        if self.learned.forwarding.of(&refresh.pair) != Knowledge::Unchanged {
            return false;
        }
        let Ok(view) = StoredView::decode(&refresh.stored, false) else {
            return true;
        };
        let alike = match status {
            304 => refresh::agrees(&view, response),
            status if view.status() == status => refresh::is_alike(&view, response),
            _ => {
                // Another status has other fields: whether a client would get just these nobody knows.
                self.learned.forwarding.background_failed(refresh.key.hash(), now_ms);
                return false;
            }
        };
        if !alike {
            self.recorder.reason(Reason::RefreshDiffers);
            self.learned.forwarding.response_differed(&refresh.pair, now_ms);
        }
        alike
    }

    fn take_refreshed(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        refresh: &Refresh,
        status: u16,
        response: &Fields<'_>,
        body_size: usize,
    ) {
        let request = Fields::from(header_map::parse(&refresh.request));
        let seen = storability::Exchange {
            method: Method::Get,
            request: &request,
            status,
            response,
            request_time_ms: refresh.sent_ms,
            response_time_ms: ctx.now_ms,
            framing: Framing::of(Method::Get, status, response, refresh.marked),
            identity_in_key: refresh.route.key.isolate_authorization,
            stated_freshness_only: false,
            hidden_credentials: refresh.hidden_credentials,
        };
        if seen.framing == Framing::Close {
            // Whether it is whole nobody can tell; Envoy hands over what came.
            self.recorder.reason(NotStored::UnprovableEnd);
            self.learned
                .forwarding
                .background_failed(refresh.key.hash(), ctx.now_ms);
            return;
        }
        if status == 304 {
            self.take_validated(ctx, refresh, &seen);
            return;
        }
        let plan = match storability::judge(&seen, &refresh.route.freshness, ctx.now_ms) {
            Ok(plan) => plan,
            Err(reason) => {
                // What the origin answers now replaces what was stored, and it may not be stored: so neither may the old one be.
                self.recorder.reason(reason);
                // Unless it was only this client's answer that may not, or what was stored goes on being right.
                let says_nothing = matches!(
                    reason,
                    NotStored::Authorization
                        | NotStored::RequestNoStore
                        | NotStored::Credentials
                        | NotStored::UnprovableEnd
                ) || matches!(status, 408 | 421 | 425 | 429);
                if !says_nothing {
                    self.store.discard(ctx.host, refresh.id);
                }
                return;
            }
        };
        if body_size > refresh.route.max_object {
            self.recorder.reason(Reason::TooLarge);
            return;
        }
        let body = if body_size == 0 {
            Ok(Vec::new())
        } else {
            ctx.host.call_body(body_size)
        };
        let (Ok(body), Ok(mut encoder)) = (
            body,
            Encoder::begin(refresh.key.as_bytes(), &seen, &plan, body_size, TRAILER_LEN),
        ) else {
            return;
        };
        encoder.append(&body);
        if let Some(bytes) = encoder.seal() {
            let key = &refresh.key;
            let until_ms = plan.usable_until_ms;
            self.offer(ctx, key, &request, refresh.fence, &bytes, until_ms);
            let key = key.as_bytes();
            self.insert(
                ctx,
                key,
                &request,
                refresh.purge_generation,
                bytes,
                &plan.vary,
                plan.usable_until_ms,
            );
        }
    }

    fn take_validated(&mut self, ctx: Ctx<'_, impl Host>, refresh: &Refresh, seen: &storability::Exchange<'_>) {
        let Ok(view) = StoredView::decode(&refresh.stored, false) else {
            return;
        };
        match validation::freshen(&view, seen, &refresh.route.freshness, ctx.now_ms, TRAILER_LEN) {
            Freshened::Store { bytes, usable_until_ms } => {
                let vary: Vec<Vec<u8>> = view.selecting().map(|(name, _)| name.to_vec()).collect();
                let key = &refresh.key;
                self.offer(ctx, key, seen.request, refresh.fence, &bytes, usable_until_ms);
                let key = key.as_bytes();
                self.insert(
                    ctx,
                    key,
                    seen.request,
                    refresh.purge_generation,
                    bytes,
                    &vary,
                    usable_until_ms,
                );
            }
            Freshened::ServeOnly { .. } | Freshened::Clients | Freshened::Other => {
                self.store.discard(ctx.host, refresh.id);
            }
        }
    }
}
