//! The response's head: judge it, then freshen, replace, capture or pass it.

use super::exchange::{Exchange, Flow, Forwarded, Phase};
use super::header_map;
use super::host::{Host, MapKind};
use super::verdict::Verdict;
use super::vm::Vm;
use crate::Millis;
use crate::breaker::{self, OutcomeClass};
use crate::cache::reuse::Failure;
use crate::cache::status_field::CacheStatus;
use crate::cache::{Framing, StoredView, groups, storability};
use crate::collapse::{Failed, Landing};
use crate::engine::Asked;
use crate::http::fields::Fields;
use crate::http::method::Method;
use std::rc::Rc;

impl Vm {
    /// The response's headers came, from the upstream or from Envoy or ourselves.
    pub fn on_response_headers(&mut self, host: &impl Host, exchange: &mut Exchange, count: usize, end: bool) -> Flow {
        match std::mem::replace(&mut exchange.phase, Phase::Passing) {
            Phase::Passing => Flow::Continue,
            waiting @ (Phase::Waiting(_) | Phase::Queued { .. } | Phase::Asking { .. }) => {
                // Envoy answers a paused request itself, for example when its stream times out; `on_end` clears it away.
                exchange.phase = waiting;
                Flow::Continue
            }
            Phase::Answered(sent) => {
                if let Some(sent) = &sent {
                    let added = sent.restore(host, count);
                    self.learn_added(host, exchange, added);
                }
                exchange.phase = Phase::Answered(sent.filter(|_| !end));
                Flow::Continue
            }
            Phase::Forwarded(mut forwarded) => {
                let started_ns = host.now_ns();
                exchange.responding = true;
                let flow = self.judge_response(host, exchange, &mut forwarded, started_ns / 1_000_000, end);
                // An answer of our own has set the phase; the permit goes with the exchange all the same.
                match &exchange.phase {
                    Phase::Answered(_) => {
                        let landing = fetch_failed(&forwarded);
                        self.land(host, &mut forwarded.flight, landing, started_ns / 1_000_000);
                        self.settle_forwarded(host, exchange, &mut forwarded, started_ns / 1_000_000);
                    }
                    _ => {
                        self.count_head(host, &mut forwarded, started_ns / 1_000_000);
                        exchange.phase = Phase::Forwarded(forwarded);
                    }
                }
                exchange.note_inside(host, started_ns);
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
        forwarded.ended = end;
        let details = note_origin(host, forwarded, status, &response);
        exchange.reached |= forwarded.from_origin;
        let request_map = Rc::clone(&forwarded.request);
        let (Some(asked), Some(route)) = (
            Asked::read(Fields::from(header_map::parse(&request_map))),
            exchange.route.clone(),
        ) else {
            return Flow::Continue;
        };
        forwarded.verdict = Verdict::of(&asked.fields, &response, status);
        if let Some((failure, class)) = details.and_then(|details| failed(host, status, &details)) {
            if let Some(flow) = self.stale_instead(host, exchange, forwarded, &asked, failure, class, now_ms) {
                return flow;
            }
            if failure == Failure::Unreachable
                && let Some(flow) = self.explain_failure(host, exchange, forwarded, class)
            {
                return flow;
            }
        }
        let (mut stored, mut is_promised) = (false, false);
        if forwarded.from_origin && route.cache {
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
            self.invalidate(host, exchange, &asked, &route, status, &response, now_ms);
            if status == 304
                && forwarded.validating
                && is_from_origin(host, forwarded)
                && let Some(flow) = self.freshen(host, exchange, forwarded, &asked, &seen, &route, now_ms)
            {
                return flow;
            }
            if status == 200
                && forwarded.validating
                && let Some(held) = &forwarded.stored
                && let Ok(view) = StoredView::decode(&held.bytes, false)
            {
                self.validated(&route, view.response_time_ms(), true, now_ms);
            }
            if stored_as == Method::Get && asked.method.is_unsafe() && !exchange.ambiguous {
                forwarded.key = self.key_of_posted(host, exchange, &asked, &route);
                // Born after the invalidation that it has itself caused.
                forwarded.birth = self.stamps.birth();
            }
            if asked.method == Method::Head && is_from_origin(host, forwarded) {
                self.compare_head(host, forwarded, &seen, &route, now_ms);
            }
            stored = self.capture(host, forwarded, &seen, &route);
            exchange.stores |= stored;
            is_promised = stored && self.promises(exchange, forwarded, seen.framing);
        }
        self.mark_forwarded(host, forwarded, &response, is_promised);
        if !stored {
            let landing = match status {
                500 | 502 | 503 | 504 => fetch_failed(forwarded),
                _ => Landing::NotShareable,
            };
            self.land(host, &mut forwarded.flight, landing, now_ms);
        }
        if end && stored {
            self.commit(host, self.must_learn_first(exchange), forwarded, now_ms);
        }
        Flow::Continue
    }

    /// Whether the head may say that the response is stored, though its content is still to come: its length is known and within the
    /// limits, and nothing else decides at the end of the stream. What only the upstream's breaking off would make untrue is said.
    fn promises(&self, exchange: &Exchange, forwarded: &mut Forwarded, framing: Framing) -> bool {
        if matches!(framing, Framing::Delimited | Framing::Close) {
            forwarded.detail = forwarded.detail.or(Some("length-unknown"));
            return false;
        }
        !self.must_learn_first(exchange)
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
}

/// What only a response that came from an upstream has, unless the operator suppresses Envoy's own fields.
const UPSTREAM_TIME: &[u8] = b"x-envoy-upstream-service-time";

/// Notes whether a head came from the upstream. Asking Envoy, for the details it answers with, costs as much as a lookup: it is not
/// asked about a head that looks it and is no failure.
fn note_origin(host: &impl Host, forwarded: &mut Forwarded, status: u16, response: &Fields<'_>) -> Option<Vec<u8>> {
    if status < 500 && response.has(UPSTREAM_TIME) {
        forwarded.from_origin = true;
        return None;
    }
    let details = host.property(b"response\0code_details").unwrap_or_default();
    forwarded.certain = true;
    forwarded.from_origin = details == b"via_upstream";
    Some(details)
}

/// Whether the head came from the upstream, for sure: before anything is stored.
pub(super) fn is_from_origin(host: &impl Host, forwarded: &mut Forwarded) -> bool {
    if !forwarded.certain {
        let details = host.property(b"response\0code_details");
        forwarded.certain = true;
        forwarded.from_origin = details.is_some_and(|details| details == b"via_upstream");
    }
    forwarded.from_origin
}

/// A fetch that came to a server error, the upstream's own or Envoy's in its place.
fn fetch_failed(forwarded: &Forwarded) -> Landing {
    Landing::Failed(Failed {
        status: forwarded.status,
        unreachable: !forwarded.from_origin,
    })
}

/// Whether the call failed, by whom the response head is: Envoy makes one where the upstream does not answer. What another filter
/// or a route answers by itself is no failure of the upstream.
fn failed(host: &impl Host, status: u16, details: &[u8]) -> Option<(Failure, OutcomeClass)> {
    if details == b"via_upstream" {
        let class = OutcomeClass::Status(status);
        return matches!(status, 500 | 502 | 503 | 504).then_some((Failure::ServerError, class));
    }
    if status < 500 {
        return None;
    }
    match breaker::classify(super::on_end::response_flags(host), details, status) {
        OutcomeClass::Local | OutcomeClass::ClientGone | OutcomeClass::Status(_) => None,
        class => Some((Failure::Unreachable, class)),
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
        Framing::Close => of(is_end_marked(host)),
        known => known,
    }
}

/// Whether the cluster says so.
pub(super) fn is_end_marked(host: &impl Host) -> bool {
    let marked = host.property(b"xds\0cluster_metadata\0filter_metadata\0api_optimizer\0http2");
    marked.is_some_and(|value| value.first().is_some_and(|byte| *byte != 0))
}
