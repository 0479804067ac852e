//! Requests of our own: refreshing a stale response after it was served (RFC 5861 section 3).
//!
//! They are dispatched from root callbacks only: the SDK drops the answer of a call made in a stream that is over by then. A
//! stream puts its work into a list and wakes its own VM by its queue, which runs within about a millisecond.

use super::collapsing::Lead;
use super::header_map;
use super::host::{Host, MapKind};
use super::limiter::Place;
use super::vm::Vm;
use super::wake::Wake;
use crate::Millis;
use crate::breaker::{self, OutcomeClass, Permit};
use crate::cache::validation::{self, Freshened};
use crate::cache::{CacheKey, Encoder, Framing, NotStored, StoredView, storability};
use crate::collapse::{Failed, Landing};
use crate::engine::Asked;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::policy::RoutePolicy;
use crate::store::{Birth, Found, TRAILER_LEN};
use optimizer_proto::v1::Fence;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Refreshes that wait at most; beyond that a stale response is simply refreshed by a later request.
const MAX_WAITING: usize = 256;
/// Refreshes under way at once in one VM.
const MAX_CALLS: usize = 32;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A stored response to refresh.
#[derive(Debug)]
struct Refresh {
    cluster: String,
    /// The client's header map.
    request: Vec<u8>,
    key: CacheKey,
    stored: Vec<u8>,
    id: crate::store::EntryId,
    route: Rc<RoutePolicy>,
    birth: Birth,
    fence: Option<Fence>,
    sent_ms: Millis,
    permits: Vec<Permit>,
    /// It holds a place within the upstream's concurrency limit.
    placed: bool,
    flight: Option<Lead>,
}

/// The background work of one VM.
#[derive(Debug, Default)]
pub struct Background {
    waiting: VecDeque<Refresh>,
    calls: HashMap<u32, Refresh>,
}

/// Fields of the client's request that a background request must not carry: conditions and ranges are ours to set, the rest
/// would wait for content or change the connection.
const LEFT_OUT: [&[u8]; 12] = [
    b"if-none-match",
    b"if-modified-since",
    b"if-match",
    b"if-unmodified-since",
    b"if-range",
    b"range",
    b"expect",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"upgrade",
    b"te",
];

impl Vm {
    /// Notes that what was just served is to be refreshed; one VM of the Envoy does it.
    pub(super) fn refresh_later(
        &mut self,
        host: &impl Host,
        asked: &Asked<'_>,
        key: &CacheKey,
        found: Found,
        now_ms: Millis,
    ) {
        if asked.method != Method::Get || self.background.waiting.len() >= MAX_WAITING {
            return;
        }
        let cluster = host.property(b"xds\0cluster_name").unwrap_or_default();
        let cluster = String::from_utf8_lossy(&cluster).into_owned();
        if breaker::is_resting(host, &cluster, &self.policies.breaker, now_ms) {
            return;
        }
        let Some(flight) = self.lead_refresh(host, key.hash(), now_ms) else {
            return;
        };
        let mut map = header_map::MapWriter::with_capacity(asked.fields.len(), 1024);
        for (name, value) in asked.fields.iter().filter(|(name, _)| !LEFT_OUT.contains(name)) {
            map.push(name, value);
        }
        let route = Rc::clone(self.policies.route(asked.target.authority, asked.target.path));
        let id = found.id;
        let fence = self.tier_fence(&route, &asked.fields);
        self.background.waiting.push_back(Refresh {
            cluster,
            request: map.finish(),
            key: key.clone(),
            stored: found.into_value(),
            id,
            route,
            birth: self.stamps.birth(),
            fence,
            sent_ms: now_ms,
            permits: Vec::new(),
            placed: false,
            flight: Some(flight),
        });
        // Without a wake-up the next tick does it.
        let _ = host.enqueue(self.queue, &[Wake::Work.byte()]);
    }

    /// Starts what waits. In root callbacks only.
    pub(super) fn run_background(&mut self, host: &impl Host, now_ms: Millis) {
        while self.background.calls.len() < MAX_CALLS {
            let Some(mut refresh) = self.background.waiting.pop_front() else {
                return;
            };
            refresh.sent_ms = now_ms;
            match self.dispatch(host, &mut refresh, now_ms) {
                Some(token) => drop(self.background.calls.insert(token, refresh)),
                None => self.land(host, &mut refresh.flight, Landing::Released, now_ms),
            }
        }
    }

    fn dispatch(&mut self, host: &impl Host, refresh: &mut Refresh, now_ms: Millis) -> Option<u32> {
        // Nobody waits for it: it takes no place that a client could have, and lets a recovering upstream recover.
        let place = self.take_place(host, &refresh.cluster, false, now_ms);
        refresh.placed = place == Place::Taken;
        if matches!(place, Place::Full | Place::Wait) {
            return None;
        }
        let own = refresh.route.own_breaker.then_some(refresh.route.name.as_str());
        match self.admit_to(host, &refresh.cluster, own, true, now_ms) {
            Ok(permits) => refresh.permits = permits,
            Err(_) => {
                self.leave_place(host, refresh, None);
                return None;
            }
        }
        let view = StoredView::decode(&refresh.stored, false).ok();
        let conditional = view.as_ref().map(validation::conditional).unwrap_or_default();
        let mut fields: Vec<(&str, &[u8])> = header_map::parse(&refresh.request)
            .into_iter()
            .filter_map(|(name, value)| std::str::from_utf8(name).ok().map(|name| (name, value)))
            .collect();
        fields.extend(conditional.if_none_match.map(|value| ("if-none-match", value)));
        fields.extend(conditional.if_modified_since.map(|value| ("if-modified-since", value)));
        let called = host.call(&refresh.cluster, fields, CALL_TIMEOUT);
        if called.is_err() {
            self.leave_place(host, refresh, None);
            let permits = std::mem::take(&mut refresh.permits);
            self.settle(host, permits, OutcomeClass::Local, 0, now_ms);
        }
        called.ok()
    }

    fn leave_place(&mut self, host: &impl Host, refresh: &mut Refresh, took_ms: Option<Millis>) {
        if std::mem::take(&mut refresh.placed) {
            self.give_place(host, &refresh.cluster, took_ms);
        }
    }

    /// The answer to a background request; without fields it failed.
    pub fn on_call_response(&mut self, host: &impl Host, token: u32, fields: usize, body_size: usize) {
        let Some(mut refresh) = self.background.calls.remove(&token) else {
            return;
        };
        let now_ms = host.now_ns() / 1_000_000;
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
        self.settle_background(host, permits, &refresh.cluster, status, took_ms, now_ms);
        if let Some(status) = status.filter(|status| *status < 500) {
            self.take_refreshed(host, &refresh, status, &response, body_size, now_ms);
        }
        let landing = match status {
            None | Some(500 | 502 | 503 | 504) => Landing::Failed(Failed {
                status: status.unwrap_or(502),
                unreachable: status.is_none(),
            }),
            Some(_) => Landing::Stored,
        };
        self.land(host, &mut refresh.flight, landing, now_ms);
        self.run_background(host, now_ms);
    }

    fn take_refreshed(
        &mut self,
        host: &impl Host,
        refresh: &Refresh,
        status: u16,
        response: &Fields<'_>,
        body_size: usize,
        now_ms: Millis,
    ) {
        let request = Fields::from(header_map::parse(&refresh.request));
        let seen = storability::Exchange {
            method: Method::Get,
            request: &request,
            status,
            response,
            request_time_ms: refresh.sent_ms,
            response_time_ms: now_ms,
            // The host hands over whole answers only.
            framing: match Framing::of(Method::Get, status, response, true) {
                Framing::Close => Framing::Delimited,
                known => known,
            },
            identity_in_key: refresh.route.key.isolate_authorization,
        };
        if status == 304 {
            self.take_validated(host, refresh, &seen, now_ms);
            return;
        }
        let plan = match storability::judge(&seen, &refresh.route.freshness, now_ms) {
            Ok(plan) => plan,
            Err(reason) => {
                // What the origin answers now replaces what was stored, and it may not be stored: so neither may the old one be.
                self.recorder.reason(reason.code());
                // Unless it was only this client's answer that may not.
                if !matches!(reason, NotStored::Authorization | NotStored::RequestNoStore) {
                    self.store.discard(host, refresh.id);
                }
                return;
            }
        };
        if body_size > refresh.route.max_object {
            self.recorder.reason("too-large");
            return;
        }
        let body = if body_size == 0 {
            Ok(Vec::new())
        } else {
            host.call_body(body_size)
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
            self.offer(host, key, &request, refresh.fence, &bytes, until_ms, now_ms);
            let key = key.as_bytes();
            self.insert(
                host,
                key,
                &request,
                refresh.birth,
                bytes,
                &plan.vary,
                plan.usable_until_ms,
                now_ms,
            );
        }
    }

    fn take_validated(
        &mut self,
        host: &impl Host,
        refresh: &Refresh,
        seen: &storability::Exchange<'_>,
        now_ms: Millis,
    ) {
        let Ok(view) = StoredView::decode(&refresh.stored, false) else {
            return;
        };
        match validation::freshen(&view, seen, &refresh.route.freshness, now_ms, TRAILER_LEN) {
            Freshened::Store { bytes, usable_until_ms } => {
                let vary: Vec<Vec<u8>> = view.selecting().map(|(name, _)| name.to_vec()).collect();
                let key = &refresh.key;
                self.offer(host, key, seen.request, refresh.fence, &bytes, usable_until_ms, now_ms);
                let key = key.as_bytes();
                self.insert(
                    host,
                    key,
                    seen.request,
                    refresh.birth,
                    bytes,
                    &vary,
                    usable_until_ms,
                    now_ms,
                );
            }
            Freshened::ServeOnly { .. } => drop(self.store.discard(host, refresh.id)),
            Freshened::Other => {}
        }
    }
}
