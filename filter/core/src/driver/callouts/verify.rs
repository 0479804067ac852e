//! Verified sharing: hits of a sample are asked of the origin, in the background and within a budget, and what is found is acted upon.
//!
//! A request of our own is made only where it is known to reach the origin as the client's would (see `fetches::refresh`); else the hit
//! counts as not verifiable.

use crate::Millis;
use crate::breaker::{self, OutcomeClass, Permit};
use crate::cache::{CacheKey, Framing, StoredView, refusal};
use crate::driver::exchange::Exchange;
use crate::driver::exchange::guarded::has_hidden_credentials;
use crate::driver::exchange::plan::SURROGATE_CAPABILITY;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::shared::wake::Wake;
use crate::driver::state::refreshes::{CALL_TIMEOUT, goes_along};
use crate::driver::state::verifying::{Call, Hit};
use crate::driver::upstream::origin::is_end_marked;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::limit::Place;
use crate::store::Found;
use crate::verify::{Field, Inquiry, Probe, Verdict, content, fields, inquiry};
use optimizer_proto::codes::VerifyResult;
use optimizer_proto::v1::SharingFinding;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// After so long Envoy has answered, or never will: it forgets the calls of a root that ends.
const FORGOTTEN_MS: Millis = 70_000;
/// Apart from other samples of the same requests.
const SAMPLE: u64 = 0x7e51f1ed;

impl Vm {
    /// Whether this hit is one of the sample. It costs one branch where nothing is verified.
    pub(crate) fn is_to_verify(&self, exchange: &Exchange) -> bool {
        let share = exchange.route.as_ref().map_or(0, |route| route.verified_percent);
        share > 0 && {
            let number = xxh3_64_with_seed(&exchange.started_ns.to_le_bytes(), SAMPLE);
            number % 100 < u64::from(share)
        }
    }

    /// A hit of the sample was served.
    pub(crate) fn verify_later(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &Exchange,
        cache_request: &CacheRequest<'_>,
        key: CacheKey,
        found: Found,
    ) {
        let Some(routed) = exchange.routed.as_ref() else { return };
        if self.verifying.hit.is_some()
            || self.verifying.differs(key.hash(), ctx.now_ms)
            || !self.verifying.budget.holds(&exchange.upstream, inquiry::MAX_PROBES)
            || breaker::is_resting(ctx.host, &exchange.upstream, &self.policies.breaker, ctx.now_ms)
        {
            return;
        }
        // Of a route without a name the whole head is in the key.
        if cache_request.method != Method::Get
            || cache_request.content.is_some()
            || routed.route.is_empty()
            || found.value().len() > content::MAX_CONTENT
            || self
                .learned
                .forwarding
                .foreground(&routed.pair, key.hash(), ctx.now_ms)
                .is_some()
            || has_hidden_credentials(ctx.host, &cache_request.fields)
        {
            self.recorder.reason(VerifyResult::NotVerifiable);
            return;
        }
        let route = Rc::clone(
            self.policies
                .route(cache_request.target.authority, cache_request.target.path),
        );
        if route
            .scope_of(cache_request.target.authority, cache_request.target.path)
            .is_none()
        {
            self.recorder.reason(VerifyResult::NotVerifiable);
            return;
        }
        let Ok(view) = StoredView::decode_again(found.value()) else {
            return;
        };
        let selecting: Vec<&[u8]> = view.selecting().map(|(name, _)| name).collect();
        let parts = fields::unkeyed(&cache_request.fields, &route.key, &selecting);
        let mut map = header_map::MapWriter::with_capacity(cache_request.fields.len(), 1024);
        for (name, value) in cache_request.fields.iter().filter(|(name, _)| goes_along(name)) {
            map.push(name, value);
        }
        map.push(b"surrogate-capability", SURROGATE_CAPABILITY);
        self.verifying.hit = Some(Hit {
            cluster: exchange.upstream.to_string(),
            request: map.finish(),
            key,
            stored: found.into_value(),
            route,
            marked: is_end_marked(ctx.host),
            parts,
            inquiry: None,
            call: None,
        });
        // Without a wake-up the next tick does it.
        let _ = ctx.host.enqueue(self.queue, &[Wake::Work.byte()]);
    }

    /// Asks the next question, unless one is under way. In root callbacks only.
    pub(super) fn run_verification(&mut self, ctx: Ctx<'_, impl Host>) {
        let Some(mut hit) = self.verifying.hit.take() else {
            return;
        };
        if let Some(call) = &hit.call {
            if ctx.now_ms.abs_diff(call.sent_ms) < FORGOTTEN_MS {
                self.verifying.hit = Some(hit);
            } else {
                self.end_unverified(ctx, hit);
            }
            return;
        }
        if self.ask_origin(ctx, &mut hit) {
            self.verifying.hit = Some(hit);
        } else {
            self.end_unverified(ctx, hit);
        }
    }

    fn ask_origin(&mut self, ctx: Ctx<'_, impl Host>, hit: &mut Hit) -> bool {
        // Nobody waits for it: it takes no place that a client could have.
        if !self.verifying.budget.take(&hit.cluster) {
            return false;
        }
        let Some((placed, permits)) = self.leave_to_ask(ctx, hit) else {
            return false;
        };
        let probe = hit.inquiry.as_ref().map_or(Probe::Unchanged, Inquiry::next);
        let removed: Vec<Field> = match probe {
            Probe::Unchanged => Vec::new(),
            Probe::Without(range) => hit.parts.get(range).unwrap_or_default().concat(),
        };
        let request = Fields::from(header_map::parse(&hit.request));
        let lines = fields::without(&request, &hit.route.key, &removed);
        let lines = lines
            .iter()
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value.as_slice())));
        let called = ctx.host.call(&hit.cluster, lines.collect(), CALL_TIMEOUT);
        self.recorder.reason(VerifyResult::Request);
        hit.call = Some(Call {
            token: called.unwrap_or_default(),
            permits,
            placed,
            sent_ms: ctx.now_ms,
        });
        called.is_ok()
    }

    fn leave_to_ask(&mut self, ctx: Ctx<'_, impl Host>, hit: &Hit) -> Option<(bool, Vec<Permit>)> {
        let place = self.take_place(ctx, &hit.cluster, false);
        if matches!(place, Place::Full | Place::Wait) {
            return None;
        }
        let placed = place == Place::Taken;
        let own = hit.route.own_breaker.then_some(hit.route.name.as_str());
        match self.admit_to(ctx, &hit.cluster, own, true) {
            Ok(permits) => Some((placed, permits)),
            Err(_) => {
                if placed {
                    self.give_place(ctx.host, &hit.cluster, None);
                }
                None
            }
        }
    }

    /// It cannot be found out. What a call that was not made holds is given back.
    fn end_unverified(&mut self, ctx: Ctx<'_, impl Host>, hit: Hit) {
        self.recorder.reason(VerifyResult::NotVerifiable);
        if let Some(call) = hit.call {
            if call.placed {
                self.give_place(ctx.host, &hit.cluster, None);
            }
            self.settle(ctx, call.permits, OutcomeClass::Local, 0);
        }
    }

    /// A question could not be asked after all; false where the call was none.
    pub(super) fn verification_not_made(&mut self, ctx: Ctx<'_, impl Host>, token: u32) -> bool {
        match self.asked_by(token) {
            Some(hit) => {
                self.end_unverified(ctx, hit);
                true
            }
            None => false,
        }
    }

    fn asked_by(&mut self, token: u32) -> Option<Hit> {
        let is_it = |hit: &mut Hit| hit.call.as_ref().is_some_and(|call| call.token == token);
        self.verifying.hit.take_if(is_it)
    }

    /// The answer to a question; false where the call was none. Without fields it failed.
    pub(super) fn take_verified(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        token: u32,
        fields: usize,
        body_size: usize,
    ) -> bool {
        let Some(mut hit) = self.asked_by(token) else {
            return false;
        };
        let map = if fields == 0 {
            Vec::new()
        } else {
            ctx.host.header_map(MapKind::CallResponse).unwrap_or_default()
        };
        let response = Fields::from(header_map::parse(&map));
        let status: Option<u16> = response
            .get(b":status")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        if let Some(call) = hit.call.take() {
            let took_ms = ctx.now_ms.saturating_sub(call.sent_ms);
            if call.placed {
                self.give_place(ctx.host, &hit.cluster, Some(took_ms));
            }
            self.settle_background(ctx, call.permits, &hit.cluster, status, took_ms);
        }
        let verdict = status
            .filter(|status| says_something(*status) && body_size <= content::MAX_CONTENT)
            .filter(|status| Framing::of(Method::Get, *status, &response, hit.marked) != Framing::Close)
            .and_then(|status| self.judged(ctx, &mut hit, status, &response, body_size));
        match verdict {
            None => self.end_unverified(ctx, hit),
            Some(None) => {
                self.verifying.hit = Some(hit);
                self.run_verification(ctx);
            }
            Some(Some(verdict)) => self.act_upon(ctx, &hit, verdict),
        }
        true
    }

    /// What an answer means so far; `None` where it cannot be read.
    fn judged(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        hit: &mut Hit,
        status: u16,
        response: &Fields<'_>,
        body_size: usize,
    ) -> Option<Option<Verdict>> {
        let policies = Rc::clone(&self.policies);
        let masks = policies.verify.as_ref().map(|verify| verify.masks.as_slice())?;
        let secret = &self.key_secret.secret;
        let body = if body_size == 0 {
            Vec::new()
        } else {
            ctx.host.call_body(body_size).ok()?
        };
        let seen = content::digest(secret, status, response, &body, masks);
        if hit.inquiry.is_none() {
            let view = StoredView::decode(&hit.stored, true).ok()?;
            let served = content::digest(secret, view.status(), &view.fields().collect(), view.body(), masks);
            let suspected = self.verifying.is_suspected(hit.key.hash(), view.response_time_ms());
            hit.inquiry = Some(Inquiry::new(served, hit.parts.len(), suspected));
        }
        let refuses = refusal::refuses_the_request(status);
        hit.inquiry.as_mut().map(|inquiry| inquiry.take(seen, refuses))
    }

    fn act_upon(&mut self, ctx: Ctx<'_, impl Host>, hit: &Hit, verdict: Verdict) {
        let stored_ms = StoredView::decode_again(&hit.stored).map_or(ctx.now_ms, |view| view.response_time_ms());
        let age_ms = ctx.now_ms.saturating_sub(stored_ms);
        let result = match &verdict {
            Verdict::Same => VerifyResult::Same,
            Verdict::Changed => VerifyResult::Changed,
            Verdict::DiffersByItself => VerifyResult::DiffersByItself,
            Verdict::Refused => VerifyResult::NotVerifiable,
            Verdict::NotInKey(_) => VerifyResult::NotInKey,
        };
        self.recorder.reason(result);
        match verdict {
            Verdict::Same | Verdict::Changed => {
                let changed = verdict == Verdict::Changed;
                let route = self.recorder.name(&hit.route.name);
                self.recorder.validated(route, changed, age_ms);
                if changed {
                    self.verifying.suspect(hit.key.hash(), stored_ms);
                }
            }
            Verdict::Refused => {}
            Verdict::DiffersByItself => self.verifying.note_differing(hit.key.hash(), ctx.now_ms),
            Verdict::NotInKey(range) => {
                let depends_on = hit.parts.get(range).unwrap_or_default().concat();
                if let Some(finding) = finding(hit, &depends_on, ctx.now_ms) {
                    self.quarantine(ctx, finding);
                }
            }
        }
    }
}

/// Whether a status says what the origin has for this client: not that it fails, or is asked too much.
fn says_something(status: u16) -> bool {
    (200..500).contains(&status) && !matches!(status, 304 | 408 | 421 | 425 | 429)
}

fn finding(hit: &Hit, depends_on: &[Field], at_ms: Millis) -> Option<SharingFinding> {
    let request = Fields::from(header_map::parse(&hit.request));
    let of = |name: &[u8]| request.get(name).unwrap_or_default();
    let (route, host, path_prefix) = hit.route.scope_of(of(b":authority"), of(b":path"))?;
    let named = format!("{route} {host} {path_prefix} {}", hit.route.rule);
    let (served, fetched) = hit.inquiry.as_ref().map(Inquiry::digests).unwrap_or_default();
    let hex = |digest: [u8; 16]| format!("{:032x}", u128::from_be_bytes(digest));
    Some(SharingFinding {
        id: format!("{:016x}", xxh3_64_with_seed(named.as_bytes(), SAMPLE)),
        upstream: hit.cluster.clone(),
        route,
        host,
        path_prefix,
        rule: hit.route.rule.clone(),
        depends_on: fields::described(depends_on),
        served: hex(served),
        fetched: hex(fetched),
        at_ms,
    })
}
