//! The response's head, content and end: freshen, replace by something stale, capture, commit.

use super::exchange::{Capture, Exchange, Flow, Forwarded, Phase};
use super::header_map;
use super::host::{Host, MapKind};
use super::vm::Vm;
use crate::Millis;
use crate::cache::reuse::{self, Failure};
use crate::cache::status_field::CacheStatus;
use crate::cache::validation::{self, Freshened, HeadEffect};
use crate::cache::{self, Encoder, Framing, StoredView, groups, invalidation, storability};
use crate::collapse::Landing;
use crate::engine::{Asked, Decision};
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::policy::RoutePolicy;
use crate::store::TRAILER_LEN;
use optimizer_proto::v1::Outcome;
use std::rc::Rc;

/// Bodies being captured in one VM at once, bytes: a crowd of slow clients with large responses must not exhaust the VM, which
/// may have 1 GiB in all.
const CAPTURE_BUDGET: usize = 128 << 20;
/// What a body of unknown length is expected to need at first.
const CAPTURE_HINT: usize = 16 << 10;

impl Vm {
    /// The response's headers came, from the upstream or from Envoy or ourselves.
    pub fn on_response_headers(&mut self, host: &impl Host, exchange: &mut Exchange, end: bool) -> Flow {
        match std::mem::replace(&mut exchange.phase, Phase::Passing) {
            Phase::Passing => Flow::Continue,
            waiting @ (Phase::Waiting { .. } | Phase::Queued { .. }) => {
                // Envoy answers a paused request itself, for example when its stream times out; `on_end` clears it away.
                exchange.phase = waiting;
                Flow::Continue
            }
            Phase::Answered {
                content_length,
                content_type,
            } => {
                put_back(host, content_length, content_type.as_deref());
                exchange.phase = Phase::Answered {
                    content_length: None,
                    content_type: None,
                };
                Flow::Continue
            }
            Phase::Forwarded(mut forwarded) => {
                let started_ns = host.now_ns();
                let flow = self.judge_response(host, exchange, &mut forwarded, started_ns / 1_000_000, end);
                // An answer of our own has set the phase; the permit goes with the exchange all the same.
                match &exchange.phase {
                    Phase::Answered { .. } => {
                        self.land(host, &mut forwarded.flight, Landing::Failed, started_ns / 1_000_000);
                        self.settle_forwarded(host, exchange, &mut forwarded, None);
                    }
                    _ => exchange.phase = Phase::Forwarded(forwarded),
                }
                exchange.inside_ns += host.now_ns().saturating_sub(started_ns);
                flow
            }
        }
    }

    fn judge_response(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        now_ms: Millis,
        end: bool,
    ) -> Flow {
        let Ok(map) = host.header_map(MapKind::Response) else {
            return Flow::Continue;
        };
        let response = Fields::from(header_map::parse(&map));
        let status = response
            .get(b":status")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
            .unwrap_or(0);
        forwarded.status = status;
        forwarded.answered_after_ms = Some(now_ms.saturating_sub(forwarded.sent_ms));
        let details = host.property(b"response\0code_details").unwrap_or_default();
        let from_origin = details == b"via_upstream";
        let request_map = Rc::clone(&forwarded.request);
        let (Some(asked), Some(route)) = (
            Asked::read(Fields::from(header_map::parse(&request_map))),
            exchange.route.clone(),
        ) else {
            return Flow::Continue;
        };
        let failure = match status {
            _ if !from_origin && status >= 500 => Some(Failure::Unreachable),
            500 | 502 | 503 | 504 => Some(Failure::ServerError),
            _ => None,
        };
        if let Some(failure) = failure
            && let Some(flow) = self.stale_instead(host, exchange, forwarded, &asked, failure, now_ms)
        {
            return flow;
        }
        let mut stored = false;
        if from_origin && route.cache {
            let stored_as = stored_as(&asked, status, &response);
            let seen = storability::Exchange {
                method: stored_as,
                request: &asked.fields,
                status,
                response: &response,
                request_time_ms: forwarded.sent_ms,
                response_time_ms: now_ms,
                framing: framing(host, asked.method, status, &response),
                identity_in_key: route.key.isolate_authorization,
            };
            self.invalidate(host, &asked, &route, status, &response, now_ms);
            if status == 304
                && forwarded.validating
                && let Some(flow) = self.freshen(host, exchange, forwarded, &asked, &seen, &route, now_ms)
            {
                return flow;
            }
            if stored_as == Method::Get && asked.method.is_unsafe() {
                forwarded.key = Some(cache::CacheKey::new(&route.key, &asked.target, &asked.fields));
                // Born after the invalidation that it has itself caused.
                forwarded.birth = self.stamps.birth();
            }
            if asked.method == Method::Head {
                self.compare_head(host, forwarded, &seen, &route, now_ms);
            }
            stored = self.capture(forwarded, &seen, &route);
        }
        self.mark_forwarded(host, forwarded, &response, stored);
        if !stored {
            let landing = if from_origin {
                Landing::NotShareable
            } else {
                Landing::Failed
            };
            self.land(host, &mut forwarded.flight, landing, now_ms);
        }
        if end && stored {
            self.commit(host, forwarded, now_ms);
        }
        Flow::Continue
    }

    /// Serves the stored response in place of a failure, where its staleness is allowed.
    fn stale_instead(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        asked: &Asked<'_>,
        failure: Failure,
        now_ms: Millis,
    ) -> Option<Flow> {
        let route = exchange.route.clone()?;
        let stored = forwarded.stored.as_ref()?;
        let view = StoredView::decode(&stored.bytes, false).ok()?;
        let directives = asked.directives(&route.freshness);
        let reuse = reuse::on_failure(&view, &directives, &route.freshness, failure, now_ms)?;
        let reply = match cache::reply::build(&view, &reuse, asked.method, &asked.fields, exchange.started_ns, now_ms) {
            cache::reply::Answer::Reply(reply) => reply,
            cache::reply::Answer::AskOrigin => return None,
        };
        let status = CacheStatus {
            ttl_s: Some(reuse.ttl_s),
            forward: Some(forwarded.cause),
            forward_status: Some(forwarded.status).filter(|status| *status > 0),
            detail: Some(reuse.reason.code()),
            ..CacheStatus::default()
        };
        let flow = self.answer(host, exchange, &view, &reply, &status, Outcome::Stale);
        (flow == Flow::Pause).then_some(flow)
    }

    /// A 304 to our validation: freshen what is stored and answer with it.
    #[allow(clippy::too_many_arguments)]
    fn freshen(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        asked: &Asked<'_>,
        seen: &storability::Exchange<'_>,
        route: &Rc<RoutePolicy>,
        now_ms: Millis,
    ) -> Option<Flow> {
        let held = forwarded.stored.take()?;
        let view = StoredView::decode(&held.bytes, false).ok()?;
        let (bytes, keep) = match validation::freshen(&view, seen, &route.freshness, exchange.started_ns, TRAILER_LEN) {
            Freshened::Store { bytes, usable_until_ms } => (bytes, Some(usable_until_ms)),
            Freshened::ServeOnly { bytes } => (bytes, None),
            Freshened::Other => return None,
        };
        let fresh = StoredView::decode(&bytes, false).ok()?;
        let directives = crate::cache::request_directives::RequestDirectives::default();
        let decision = crate::engine::decide(
            &fresh,
            asked,
            &directives,
            &route.freshness,
            false,
            exchange.started_ns,
            now_ms,
        );
        let (reply, reuse) = match decision {
            Decision::Reply { reply, reuse, .. } => (reply, reuse),
            // Validated this moment, it answers this request even where it may not answer the next one without asking again.
            _ => {
                let reuse = reuse::Reuse {
                    action: reuse::Action::Serve,
                    reason: reuse::ReuseReason::Fresh,
                    age_s: fresh.age_ms(now_ms) / 1000,
                    ttl_s: 0,
                };
                match cache::reply::build(&fresh, &reuse, asked.method, &asked.fields, exchange.started_ns, now_ms) {
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
        let flow = self.answer(host, exchange, &fresh, &reply, &status, Outcome::Revalidated);
        drop(reply);
        match keep {
            Some(usable_until_ms) => {
                self.store_bytes(host, forwarded, bytes, usable_until_ms, now_ms);
                self.land(host, &mut forwarded.flight, Landing::Stored, now_ms);
            }
            None => drop(self.store.discard(host, held.id)),
        }
        Some(flow)
    }

    fn compare_head(
        &mut self,
        host: &impl Host,
        forwarded: &Forwarded,
        seen: &storability::Exchange<'_>,
        route: &RoutePolicy,
        now_ms: Millis,
    ) {
        let Some(key) = &forwarded.key else { return };
        let super::on_request::Lookup::Usable { found, .. } = self.find(host, key, seen.request, now_ms) else {
            return;
        };
        let Ok(view) = StoredView::decode(found.value(), false) else {
            return;
        };
        match validation::head(&view, seen, &route.freshness, now_ms, TRAILER_LEN) {
            HeadEffect::Store { bytes, usable_until_ms } => {
                self.store_bytes(host, forwarded, bytes, usable_until_ms, now_ms);
            }
            HeadEffect::Invalidate => {
                self.recorder.cache.invalidations += 1;
                self.store.discard(host, found.id);
            }
            HeadEffect::Nothing => {}
        }
    }

    /// Removes what an unsafe method, or an invalidated cache group, has made untrue.
    fn invalidate(
        &mut self,
        host: &impl Host,
        asked: &Asked<'_>,
        route: &RoutePolicy,
        status: u16,
        response: &Fields<'_>,
        now_ms: Millis,
    ) {
        if !asked.method.is_unsafe() {
            return;
        }
        for target in invalidation::targets(asked.method, &asked.target, status, response) {
            let key = cache::CacheKey::new(&route.key, &target.as_target(), &asked.fields);
            // A stamp and not a removal: it reaches every variant and identity of the URL, and a fetch still in flight.
            if self
                .stamps
                .purge(host, crate::store::Purge::Url(key.url()), false, now_ms)
                .is_ok()
            {
                self.recorder.cache.invalidations += 1;
            }
            self.store.remove(host, key.as_bytes());
        }
        if (200..400).contains(&status) {
            let host_name = crate::http::target::normalize_authority(asked.target.scheme, asked.target.authority);
            for group in groups::invalidated(response) {
                let tag = groups::group_tag(&group);
                let purge = crate::store::Purge::Tag {
                    host: &host_name,
                    tag: &tag,
                };
                if self.stamps.purge(host, purge, false, now_ms).is_ok() {
                    self.recorder.cache.invalidations += 1;
                }
            }
        }
    }

    /// Begins to capture a response that may be stored.
    fn capture(&mut self, forwarded: &mut Forwarded, seen: &storability::Exchange<'_>, route: &RoutePolicy) -> bool {
        let Some(key) = &forwarded.key else { return false };
        let plan = match storability::judge(seen, &route.freshness, seen.response_time_ms) {
            Ok(plan) => plan,
            Err(reason) => {
                self.recorder.reason(reason.code());
                forwarded.detail = forwarded.detail.or(Some(reason.code()));
                return false;
            }
        };
        let hint = match seen.framing {
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            _ => CAPTURE_HINT,
        };
        if hint > route.max_object || self.capturing.saturating_add(hint) > CAPTURE_BUDGET {
            self.recorder.reason("too-large");
            forwarded.detail = forwarded.detail.or(Some("too-large"));
            return false;
        }
        let Ok(encoder) = Encoder::begin(key.as_bytes(), seen, &plan, hint, TRAILER_LEN) else {
            self.recorder.reason("head-too-large");
            return false;
        };
        self.capturing += hint;
        forwarded.capture = Some(Capture {
            encoder,
            vary: plan.vary,
            usable_until_ms: plan.usable_until_ms,
            counted: hint,
        });
        true
    }

    /// Tells the client, and whoever debugs, what the cache made of the response; hides what is meant for caches only.
    fn mark_forwarded(&self, host: &impl Host, forwarded: &Forwarded, response: &Fields<'_>, stored: bool) {
        let status = CacheStatus {
            forward: Some(forwarded.cause),
            stored,
            detail: forwarded.detail,
            ..CacheStatus::default()
        };
        let mut value = Vec::with_capacity(64);
        status.write(response.all(b"cache-status"), &mut value);
        let _ = host.replace_header(MapKind::Response, b"cache-status", &value);
        for (name, _) in response.iter().filter(|(name, _)| groups::is_tag_field(name)) {
            let _ = host.remove_header(MapKind::Response, name);
        }
    }

    /// A piece of the response's content.
    pub fn on_response_body(&mut self, host: &impl Host, exchange: &mut Exchange, size: usize, end: bool) -> Flow {
        let Phase::Forwarded(forwarded) = &mut exchange.phase else {
            return Flow::Continue;
        };
        exchange.bytes = exchange.bytes.saturating_add(size as u64);
        let Some(capture) = &mut forwarded.capture else {
            return Flow::Continue;
        };
        let limit = exchange.route.as_ref().map_or(0, |route| route.max_object);
        let length = capture.encoder.body_len().saturating_add(size);
        let more = length.saturating_sub(capture.counted);
        if length > limit || self.capturing.saturating_add(more) > CAPTURE_BUDGET {
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
            let now_ms = host.now_ns() / 1_000_000;
            self.commit(host, forwarded, now_ms);
        }
        Flow::Continue
    }

    /// Trailers end the content. They are not stored (RFC 9110 section 6.5 allows to discard them): a local reply cannot carry any.
    pub fn on_response_trailers(&mut self, host: &impl Host, exchange: &mut Exchange) -> Flow {
        if let Phase::Forwarded(forwarded) = &mut exchange.phase {
            self.commit(host, forwarded, host.now_ns() / 1_000_000);
        }
        Flow::Continue
    }

    pub(super) fn abandon(&mut self, forwarded: &mut Forwarded) {
        if let Some(capture) = forwarded.capture.take() {
            self.capturing = self.capturing.saturating_sub(capture.counted);
        }
    }

    /// Stores what was captured, now that it is whole.
    fn commit(&mut self, host: &impl Host, forwarded: &mut Forwarded, now_ms: Millis) {
        let Some(capture) = forwarded.capture.take() else {
            return;
        };
        self.capturing = self.capturing.saturating_sub(capture.counted);
        match capture.encoder.seal() {
            Some(bytes) => self.store_value(host, forwarded, bytes, &capture.vary, capture.usable_until_ms, now_ms),
            None => self.recorder.reason("incomplete"),
        }
        self.land(host, &mut forwarded.flight, Landing::Stored, now_ms);
    }

    /// Replaces a stored response by its freshened form.
    fn store_bytes(
        &mut self,
        host: &impl Host,
        forwarded: &Forwarded,
        bytes: Vec<u8>,
        usable_until_ms: Millis,
        now_ms: Millis,
    ) {
        let Ok(view) = StoredView::decode(&bytes, false) else {
            return;
        };
        let vary: Vec<Vec<u8>> = view.selecting().map(|(name, _)| name.to_vec()).collect();
        self.store_value(host, forwarded, bytes, &vary, usable_until_ms, now_ms);
    }

    fn store_value(
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
        match self.store.insert(host, entry, variant, now_ms) {
            Ok(_) => {
                self.recorder.cache.stores += 1;
                let usable_ms = usable_until_ms.saturating_sub(now_ms);
                self.recorder.stored(xxhash_rust::xxh3::xxh3_64(key), size, usable_ms);
            }
            Err(error) => {
                self.recorder.cache.store_failures += 1;
                self.recorder.reason(store_code(error));
            }
        }
    }
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

/// The method under which a response may be stored: a POST can bring what a GET would be answered.
fn stored_as(asked: &Asked<'_>, status: u16, response: &Fields<'_>) -> Method {
    let posted = asked.fields.get(b":method") == Some(b"POST");
    if posted && storability::represents_target(&asked.target, status, response) {
        return Method::Get;
    }
    asked.method
}

/// How the content ends. Whether the upstream speaks HTTP/2, where an end is always marked, Envoy does not tell a filter; a
/// cluster says so by its metadata `api_optimizer: { http2: true }`.
fn framing(host: &impl Host, method: Method, status: u16, response: &Fields<'_>) -> Framing {
    let of = |marked| Framing::of(method, status, response, marked);
    match of(false) {
        Framing::Close => {
            let marked = host.property(b"xds\0cluster_metadata\0filter_metadata\0api_optimizer\0http2");
            of(marked.is_some_and(|value| value.first().is_some_and(|byte| *byte != 0)))
        }
        known => known,
    }
}

/// Envoy takes `Content-Type` off a response without content and has its own idea of the length.
fn put_back(host: &impl Host, content_length: Option<u64>, content_type: Option<&[u8]>) {
    if let Some(length) = content_length {
        let _ = host.replace_header(MapKind::Response, b"content-length", length.to_string().as_bytes());
    }
    if let Some(kind) = content_type {
        let _ = host.replace_header(MapKind::Response, b"content-type", kind);
    }
}
