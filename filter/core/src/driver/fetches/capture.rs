//! A response on its way into the store: captured as it streams by, committed when whole.

use crate::Millis;
use crate::cache::NotStored;
use crate::cache::{self, CacheKey, Encoder, Framing, Variance, search, selecting, storability};
use crate::collapse::FetchOutcome;
use crate::driver::exchange::destination::Routed;
use crate::driver::exchange::guarded;
use crate::driver::exchange::{Capture, Exchange, Flow, Forwarded, ProvisionalEntry};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::upstream::call_outcome::note_trailers;
use crate::driver::upstream::origin::is_from_origin;
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use crate::store::{EntryId, TRAILER_LEN};
use optimizer_proto::codes::Code;
use optimizer_proto::codes::InvalidationCause;
use std::borrow::Cow;

/// Bodies being captured in one VM at once, bytes: a crowd of slow clients with large responses must not exhaust the VM, which
/// may have 1 GiB in all.
const CAPTURE_BUDGET: usize = 128 << 20;
/// What a body of unknown length is expected to need at first.
const CAPTURE_HINT: usize = 16 << 10;
/// A body of unknown length that flows for longer is a stream: it is passed on, and nothing is kept of it.
const CAPTURE_MS: Millis = 60_000;

impl Vm {
    /// Begins to capture a response that may be stored.
    pub(crate) fn capture(
        &mut self,
        host: &impl Host,
        forwarded: &mut Forwarded,
        seen: &storability::Exchange<'_>,
        route: &RoutePolicy,
        routed: Option<&Routed>,
    ) -> bool {
        if forwarded.key.is_none() {
            return false;
        }
        if forwarded.verdict.is_endless() {
            self.not_stored(forwarded, Reason::Endless);
            forwarded.detail = forwarded.detail.or(Some(Reason::Endless.as_str()));
            return false;
        }
        let mut plan = match guarded::judge(host, seen, route) {
            Ok(plan) => plan,
            Err(reason) => {
                self.not_stored(forwarded, reason);
                self.drop_renewed(host, forwarded, &reason);
                // Whoever differs in these fields waits for nobody, though nothing is stored.
                if let Some(names) = selecting::vary_names(seen.response).filter(|_| forwarded.flight.is_some()) {
                    let names: Vec<Vec<u8>> = names.into_iter().map(Cow::into_owned).collect();
                    self.flights
                        .learn_vary(Ctx::new(host, seen.response_time_ms), route, &names);
                }
                forwarded.detail = forwarded.detail.or(Some(reason.as_str()));
                return false;
            }
        };
        if self
            .learned
            .is_given_behind(routed, plan.vary.iter().map(Vec::as_slice), seen.response_time_ms)
        {
            forwarded.given_behind = true;
            self.not_stored(forwarded, Reason::GivenBehind);
            forwarded.detail = forwarded.detail.or(Some(Reason::GivenBehind.as_str()));
            return false;
        }
        let hint = match seen.framing {
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            _ => CAPTURE_HINT.min(route.max_object),
        };
        if hint > route.max_object || self.capturing.saturating_add(hint) > CAPTURE_BUDGET {
            self.not_stored(forwarded, Reason::TooLarge);
            forwarded.detail = forwarded.detail.or(Some(Reason::TooLarge.as_str()));
            return false;
        }
        if !is_from_origin(host, forwarded) {
            return false;
        }
        forwarded.searched = self.searched_key(host, forwarded, seen, route);
        let Some(key) = forwarded.searched.as_ref().or(forwarded.key.as_ref()) else {
            return false;
        };
        if forwarded.searched.is_some() {
            plan.tags.push(search::tag(key.path()));
        }
        let Ok(encoder) = Encoder::begin(key.as_bytes(), seen, &plan, hint, TRAILER_LEN) else {
            self.not_stored(forwarded, NotStored::HeadTooLarge);
            return false;
        };
        self.capturing += hint;
        let ctx = Ctx::new(host, seen.response_time_ms);
        self.flights.learn_vary(ctx, route, &plan.vary);
        self.flights.learn_stored(ctx, route);
        let waits = self.waits_for_end(routed, &plan.vary, seen.response_time_ms);
        forwarded.capture = Some(Capture {
            encoder,
            waits,
            whole: false,
            vary: plan.vary,
            usable_until_ms: plan.usable_until_ms,
            counted: hint,
            until_ms: match seen.framing {
                Framing::Length(_) => None,
                _ => Some(seen.response_time_ms.saturating_add(CAPTURE_MS)),
            },
        });
        true
    }

    /// The key under which a response is stored that answers other queries of its path too. The first such response of an Envoy is stored
    /// for its own query: purges before it did not mean others.
    fn searched_key(
        &mut self,
        host: &impl Host,
        forwarded: &Forwarded,
        seen: &storability::Exchange<'_>,
        route: &RoutePolicy,
    ) -> Option<CacheKey> {
        let variance = Variance::of(seen.response)?;
        self.learned
            .learn_search(Ctx::new(host, seen.response_time_ms), route, variance.text());
        let key = forwarded.key.as_ref().filter(|_| forwarded.may_be_searched)?;
        key.searched(&variance)
    }

    fn not_stored(&mut self, forwarded: &Forwarded, reason: impl Code) {
        self.recorder.reason(reason);
        if let Some(key) = &forwarded.key {
            self.figures.lost.not_stored(key.hash(), reason);
        }
    }

    /// A piece of the response's content.
    pub fn on_response_body(&mut self, host: &impl Host, exchange: &mut Exchange, size: usize, end: bool) -> Flow {
        if let Some(sent) = exchange.phase.sent() {
            let sent = sent.take().map_or(0, |sent| sent.body);
            exchange.resized = (sent > 0 && sent != size).then_some(sent);
            return Flow::Continue;
        }
        let Some(forwarded) = exchange.phase.forwarded() else {
            return Flow::Continue;
        };
        exchange.bytes = exchange.bytes.saturating_add(size as u64);
        forwarded.ended |= end;
        if size > 0 {
            self.count_message(host, forwarded);
            forwarded.pace.note(exchange.bytes, || host.now_ns() / 1_000_000);
        }
        let Some(capture) = &mut forwarded.capture else {
            return Flow::Continue;
        };
        let limit = exchange.route.as_ref().map_or(0, |route| route.max_object);
        let length = capture.encoder.body_len().saturating_add(size);
        let more = length.saturating_sub(capture.counted);
        let flows_on = capture
            .until_ms
            .is_some_and(|until_ms| !end && host.now_ns() / 1_000_000 > until_ms);
        if flows_on || length > limit || self.capturing.saturating_add(more) > CAPTURE_BUDGET {
            if let Some(key) = &forwarded.key {
                self.figures.lost.not_stored(key.hash(), Reason::TooLarge);
            }
            self.recorder.reason(Reason::TooLarge);
            self.abandon(forwarded);
            self.complete_fetch(
                Ctx::new(host, host.now_ns() / 1_000_000),
                &mut forwarded.flight,
                FetchOutcome::NotShareable,
            );
            return Flow::Continue;
        }
        if size > 0 {
            match host.response_body(size) {
                Ok(chunk) if chunk.len() == size => capture.encoder.append(&chunk),
                // A piece that cannot be read leaves a hole: nothing whole can come of it.
                _ => {
                    self.abandon(forwarded);
                    return Flow::Continue;
                }
            }
            capture.counted += more;
            self.capturing += more;
        }
        if end {
            let started_ns = host.now_ns();
            self.commit(Ctx::new(host, started_ns / 1_000_000), forwarded);
            exchange.note_inside(host, started_ns);
        }
        Flow::Continue
    }

    /// Trailers end the content. They are not stored (RFC 9110 section 6.5 allows to discard them): a local reply cannot carry any.
    pub fn on_response_trailers(&mut self, host: &impl Host, exchange: &mut Exchange) -> Flow {
        if let Some(forwarded) = exchange.phase.forwarded() {
            forwarded.ended = true;
            note_trailers(host, forwarded);
            self.commit(Ctx::new(host, host.now_ns() / 1_000_000), forwarded);
        }
        Flow::Continue
    }

    pub(crate) fn abandon(&mut self, forwarded: &mut Forwarded) {
        if let Some(capture) = forwarded.capture.take() {
            self.capturing = self.capturing.saturating_sub(capture.counted);
        }
    }

    /// Stores what was captured, now that it is whole; or at the stream's end, where it has to wait for that.
    pub(crate) fn commit(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded) {
        match &mut forwarded.capture {
            Some(capture) if capture.waits => capture.whole = true,
            _ => self.commit_now(ctx, forwarded),
        }
    }

    /// The stream is over, and it is known whether what came may be stored. What was stored before that goes again if it may not.
    pub(crate) fn commit_at_end(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
    ) {
        let provisional = forwarded.provisional.take();
        let captured = forwarded.capture.as_ref().filter(|capture| capture.whole);
        let vary = match (&provisional, captured) {
            (Some(provisional), _) => provisional.vary.clone(),
            (None, Some(capture)) => capture.vary.clone(),
            (None, None) => Vec::new(),
        };
        let may_stay = self.learn_forwarding(ctx, exchange, &vary);
        if may_stay {
            if captured.is_some() {
                self.commit_now(ctx, forwarded);
            }
            return;
        }
        if let Some(provisional) = provisional {
            self.store.discard(ctx.host, provisional.id);
        } else if captured.is_some() {
            self.not_stored(forwarded, Reason::GivenBehind);
            self.abandon(forwarded);
            self.complete_fetch(ctx, &mut forwarded.flight, FetchOutcome::NotShareable);
        }
    }

    fn commit_now(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded) {
        let Some(capture) = forwarded.capture.take() else {
            return;
        };
        if let Some(bytes) = capture.encoder.seal() {
            self.flights.shared_after_all(ctx.host, forwarded);
            let id = self.store_value(ctx, forwarded, bytes, &capture.vary, capture.usable_until_ms);
            forwarded.provisional = id.map(|id| ProvisionalEntry { id, vary: capture.vary });
            self.complete_fetch(ctx, &mut forwarded.flight, FetchOutcome::Stored);
        } else {
            self.recorder.reason(Reason::Incomplete);
            self.complete_fetch(ctx, &mut forwarded.flight, FetchOutcome::NotShareable);
        }
        self.capturing = self.capturing.saturating_sub(capture.counted);
    }

    pub(crate) fn store_value(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        forwarded: &Forwarded,
        value: Vec<u8>,
        vary: &[Vec<u8>],
        usable_until_ms: Millis,
    ) -> Option<EntryId> {
        let key = forwarded.searched.as_ref().or(forwarded.key.as_ref())?;
        let request = Fields::from(header_map::parse(&forwarded.request));
        // The tier does not know of other queries, and could give it back after a purge of one of them.
        if forwarded.searched.is_none() {
            self.offer(ctx, key, &request, forwarded.fence, &value, usable_until_ms);
        }
        self.insert(
            ctx,
            key.as_bytes(),
            &request,
            forwarded.purge_generation,
            value,
            vary,
            usable_until_ms,
        )
    }

    /// Puts an encoded response into the store.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn insert(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        key: &[u8],
        request: &Fields<'_>,
        purge_generation: crate::store::PurgeGeneration,
        value: Vec<u8>,
        vary: &[Vec<u8>],
        usable_until_ms: Millis,
    ) -> Option<EntryId> {
        let names: Vec<&[u8]> = vary.iter().map(Vec::as_slice).collect();
        let entry = crate::store::Entry {
            key,
            vary: &names,
            usable_until_ms,
            fetch_ms: fetch_ms(&value),
            purge_generation,
            value,
        };
        let variant = |names: crate::store::VaryNames<'_>| cache::selecting::variant_hash(names.iter(), request);
        let (size, fetch_ms) = (entry.value.len(), entry.fetch_ms);
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let fresh_ms = if self.recorder.is_sampled(hash) {
            fresh_ms(&entry.value, ctx.now_ms)
        } else {
            0
        };
        match self.store.insert(ctx.host, entry, variant, ctx.now_ms) {
            Ok(inserted) => {
                self.recorder.cache.stores += 1;
                self.recorder
                    .gone(InvalidationCause::Replaced, u64::from(inserted.replaced));
                let usable_ms = usable_until_ms.saturating_sub(ctx.now_ms);
                self.recorder.stored(hash, size, usable_ms, fresh_ms, fetch_ms);
                Some(inserted.id)
            }
            Err(error) => {
                self.recorder.cache.store_failures += 1;
                self.recorder.reason(store_reason(error));
                None
            }
        }
    }
}

/// How long an encoded response is still fresh.
fn fresh_ms(value: &[u8], now_ms: Millis) -> Millis {
    let view = cache::StoredView::decode(value, false);
    view.map_or(0, |view| view.lifetime_ms().saturating_sub(view.age_ms(now_ms)))
}

/// How long the origin took to answer with it.
fn fetch_ms(value: &[u8]) -> Millis {
    let view = cache::StoredView::decode(value, false);
    view.map_or(0, |view| view.response_time_ms().saturating_sub(view.request_time_ms()))
}

fn store_reason(error: crate::store::StoreError) -> Reason {
    use crate::store::StoreError;
    match error {
        StoreError::TooLarge => Reason::TooLarge,
        StoreError::NoSpace => Reason::NoSpace,
        StoreError::Expired => Reason::ExpiredOnArrival,
        StoreError::TooManyVarySets => Reason::TooManyVarySets,
        StoreError::Contended => Reason::Contended,
        StoreError::Host => Reason::HostRefused,
    }
}
