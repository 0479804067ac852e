//! A response on its way into the store: captured as it streams by, committed when whole.

use super::exchange::{Capture, Exchange, Flow, Forwarded, Held, Phase};
use super::header_map;
use super::host::Host;
use super::on_response::is_from_origin;
use super::vm::Vm;
use crate::Millis;
use crate::cache::{self, Encoder, Framing, selecting, storability};
use crate::collapse::Landing;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use crate::store::TRAILER_LEN;
use std::borrow::Cow;
use std::rc::Rc;

/// Bodies being captured in one VM at once, bytes: a crowd of slow clients with large responses must not exhaust the VM, which
/// may have 1 GiB in all.
const CAPTURE_BUDGET: usize = 128 << 20;
/// What a body of unknown length is expected to need at first.
const CAPTURE_HINT: usize = 16 << 10;
/// A body of unknown length that flows for longer is a stream: it is passed on, and nothing is kept of it.
const CAPTURE_MS: Millis = 60_000;

impl Vm {
    /// Begins to capture a response that may be stored.
    pub(super) fn capture(
        &mut self,
        host: &impl Host,
        forwarded: &mut Forwarded,
        seen: &storability::Exchange<'_>,
        route: &RoutePolicy,
    ) -> bool {
        if forwarded.key.is_none() {
            return false;
        }
        if forwarded.verdict.is_endless() {
            self.not_stored(forwarded, "endless");
            forwarded.detail = forwarded.detail.or(Some("endless"));
            return false;
        }
        let plan = match storability::judge(seen, &route.freshness, seen.response_time_ms) {
            Ok(plan) => plan,
            Err(reason) => {
                self.not_stored(forwarded, reason.code());
                self.drop_renewed(host, forwarded, &reason);
                // Whoever differs in these fields waits for nobody, though nothing is stored.
                if let Some(names) = selecting::vary_names(seen.response).filter(|_| forwarded.flight.is_some()) {
                    let names: Vec<Vec<u8>> = names.into_iter().map(Cow::into_owned).collect();
                    self.learn_vary(host, route, &names, seen.response_time_ms);
                }
                forwarded.detail = forwarded.detail.or(Some(reason.code()));
                return false;
            }
        };
        let hint = match seen.framing {
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            _ => CAPTURE_HINT.min(route.max_object),
        };
        if hint > route.max_object || self.capturing.saturating_add(hint) > CAPTURE_BUDGET {
            self.not_stored(forwarded, "too-large");
            forwarded.detail = forwarded.detail.or(Some("too-large"));
            return false;
        }
        if !is_from_origin(host, forwarded) {
            return false;
        }
        let Some(key) = &forwarded.key else { return false };
        let Ok(encoder) = Encoder::begin(key.as_bytes(), seen, &plan, hint, TRAILER_LEN) else {
            self.not_stored(forwarded, "head-too-large");
            return false;
        };
        self.capturing += hint;
        self.learn_vary(host, route, &plan.vary, seen.response_time_ms);
        self.learn_stored(host, route, seen.response_time_ms);
        forwarded.capture = Some(Capture {
            encoder,
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

    fn not_stored(&mut self, forwarded: &Forwarded, reason: &'static str) {
        self.recorder.reason(reason);
        if let Some(key) = &forwarded.key {
            self.lost.not_stored(key.hash(), reason);
        }
    }

    /// A piece of the response's content.
    pub fn on_response_body(&mut self, host: &impl Host, exchange: &mut Exchange, size: usize, end: bool) -> Flow {
        if let Phase::Answered(sent) = &mut exchange.phase {
            let sent = sent.take().map_or(0, |sent| sent.body);
            exchange.resized = (sent > 0 && sent != size).then_some(sent);
            return Flow::Continue;
        }
        let learn_first = self.must_learn_first(exchange);
        let Phase::Forwarded(forwarded) = &mut exchange.phase else {
            return Flow::Continue;
        };
        exchange.bytes = exchange.bytes.saturating_add(size as u64);
        forwarded.ended |= end;
        if size > 0 {
            self.count_message(host, forwarded);
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
                self.lost.not_stored(key.hash(), "too-large");
            }
            self.recorder.reason("too-large");
            self.abandon(forwarded);
            self.land(
                host,
                &mut forwarded.flight,
                Landing::NotShareable,
                host.now_ns() / 1_000_000,
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
            self.commit(host, learn_first, forwarded, started_ns / 1_000_000);
            exchange.note_inside(host, started_ns);
        }
        Flow::Continue
    }

    /// Trailers end the content. They are not stored (RFC 9110 section 6.5 allows to discard them): a local reply cannot carry any.
    pub fn on_response_trailers(&mut self, host: &impl Host, exchange: &mut Exchange) -> Flow {
        let learn_first = self.must_learn_first(exchange);
        if let Phase::Forwarded(forwarded) = &mut exchange.phase {
            forwarded.ended = true;
            self.note_trailers(host, forwarded);
            self.commit(host, learn_first, forwarded, host.now_ns() / 1_000_000);
        }
        Flow::Continue
    }

    pub(super) fn abandon(&mut self, forwarded: &mut Forwarded) {
        if let Some(capture) = forwarded.capture.take() {
            self.capturing = self.capturing.saturating_sub(capture.counted);
        }
        if let Some(held) = forwarded.held.take() {
            self.capturing = self.capturing.saturating_sub(held.counted);
        }
    }

    /// The stream is over: what was held is stored if it is known by now how its request left Envoy; what was stored goes if that was
    /// not as it was known.
    pub(super) fn store_as_learned(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        now_ms: Millis,
    ) {
        let came = Rc::clone(&forwarded.request);
        let before = exchange.routed.as_ref().map(|routed| self.forwarding.of(&routed.pair));
        let learned = self.learn_forwarding(host, exchange, now_ms);
        let news = before != exchange.routed.as_ref().map(|routed| self.forwarding.of(&routed.pair));
        let key = if learned && (forwarded.held.is_some() || exchange.stores && news) {
            self.key_as_learned(exchange, &came)
        } else {
            None
        };
        let Some(held) = forwarded.held.take() else {
            if let (Some(key), Some(known)) = (&key, &forwarded.key)
                && key != known
            {
                self.store.remove(host, known.as_bytes());
            }
            return;
        };
        self.capturing = self.capturing.saturating_sub(held.counted);
        // A stored response has its key in it. One whose key turns out to be another is left out: the next one has the right one.
        if key.is_some() && key == forwarded.key {
            self.store_value(host, forwarded, held.bytes, &held.vary, held.usable_until_ms, now_ms);
            self.land(host, &mut forwarded.flight, Landing::Stored, now_ms);
        } else {
            self.land(host, &mut forwarded.flight, Landing::Released, now_ms);
        }
    }

    /// Stores what was captured, now that it is whole; with `learn_first` at the end of the stream, when it is known how its request
    /// left Envoy.
    pub(super) fn commit(&mut self, host: &impl Host, learn_first: bool, forwarded: &mut Forwarded, now_ms: Millis) {
        let Some(capture) = forwarded.capture.take() else {
            return;
        };
        match capture.encoder.seal() {
            Some(bytes) if learn_first => {
                forwarded.held = Some(Held {
                    bytes,
                    vary: capture.vary,
                    usable_until_ms: capture.usable_until_ms,
                    counted: capture.counted,
                });
                return;
            }
            Some(bytes) => {
                self.shared_after_all(host, forwarded);
                self.store_value(host, forwarded, bytes, &capture.vary, capture.usable_until_ms, now_ms);
                self.land(host, &mut forwarded.flight, Landing::Stored, now_ms);
            }
            None => {
                self.recorder.reason("incomplete");
                self.land(host, &mut forwarded.flight, Landing::NotShareable, now_ms);
            }
        }
        self.capturing = self.capturing.saturating_sub(capture.counted);
    }

    pub(super) fn store_value(
        &mut self,
        host: &impl Host,
        forwarded: &Forwarded,
        value: Vec<u8>,
        vary: &[Vec<u8>],
        usable_until_ms: Millis,
        now_ms: Millis,
    ) {
        let Some(key) = &forwarded.key else { return };
        let request = Fields::from(header_map::parse(&forwarded.request));
        self.offer(host, key, &request, forwarded.fence, &value, usable_until_ms, now_ms);
        self.insert(
            host,
            key.as_bytes(),
            &request,
            forwarded.birth,
            value,
            vary,
            usable_until_ms,
            now_ms,
        );
    }

    /// Puts an encoded response into the store.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn insert(
        &mut self,
        host: &impl Host,
        key: &[u8],
        request: &Fields<'_>,
        birth: crate::store::Birth,
        value: Vec<u8>,
        vary: &[Vec<u8>],
        usable_until_ms: Millis,
        now_ms: Millis,
    ) {
        let names: Vec<&[u8]> = vary.iter().map(Vec::as_slice).collect();
        let entry = crate::store::Entry {
            key,
            vary: &names,
            usable_until_ms,
            birth,
            value,
        };
        let variant = |names: crate::store::VaryNames<'_>| cache::selecting::variant_hash(names.iter(), request);
        let size = entry.value.len();
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let fresh_ms = if self.recorder.is_sampled(hash) {
            fresh_ms(&entry.value, now_ms)
        } else {
            0
        };
        match self.store.insert(host, entry, variant, now_ms) {
            Ok(inserted) => {
                self.recorder.cache.stores += 1;
                self.recorder.gone("replaced", u64::from(inserted.replaced));
                let usable_ms = usable_until_ms.saturating_sub(now_ms);
                self.recorder.stored(hash, size, usable_ms, fresh_ms);
            }
            Err(error) => {
                self.recorder.cache.store_failures += 1;
                self.recorder.reason(store_code(error));
            }
        }
    }
}

/// How long an encoded response is still fresh.
fn fresh_ms(value: &[u8], now_ms: Millis) -> Millis {
    let view = cache::StoredView::decode(value, false);
    view.map_or(0, |view| view.lifetime_ms().saturating_sub(view.age_ms(now_ms)))
}

fn store_code(error: crate::store::StoreError) -> &'static str {
    use crate::store::StoreError;
    match error {
        StoreError::TooLarge => "too-large",
        StoreError::NoRoom => "no-room",
        StoreError::Expired => "expired-on-arrival",
        StoreError::TooManyVarySets => "too-many-vary-sets",
        StoreError::Contended => "contended",
        StoreError::Host => "host-refused",
    }
}
