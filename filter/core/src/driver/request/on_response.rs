//! The response's head: judge it, then freshen, replace, capture or pass it.

use crate::cache::reuse::Failure;
use crate::cache::status_field::CacheStatus;
use crate::cache::{Framing, StoredView, groups, storability};
use crate::collapse::{Failed, FetchOutcome};
use crate::driver::exchange::guarded::has_hidden_credentials;
use crate::driver::exchange::lifecycle::{self, Event, Step};
use crate::driver::exchange::verdict::Verdict;
use crate::driver::exchange::{Exchange, Flow, Forwarded};
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::upstream::origin::{failed, is_end_marked, is_from_origin, note_origin};
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use std::rc::Rc;

impl Vm {
    /// The response's headers came, from the upstream or from Envoy or ourselves. `count`: of field lines. A paused request may be
    /// answered by Envoy itself, for example when its stream times out; its end clears it away.
    pub fn on_response_headers(&mut self, host: &impl Host, exchange: &mut Exchange, count: usize, end: bool) -> Flow {
        match lifecycle::next(exchange.phase.stage(), Event::ResponseHead) {
            Step::Restore => {
                self.restore_reply(host, exchange, count, end);
                Flow::Continue
            }
            Step::Judge => self.judge(host, exchange, end),
            _ => Flow::Continue,
        }
    }

    fn restore_reply(&mut self, host: &impl Host, exchange: &mut Exchange, count: usize, end: bool) {
        let sent = exchange.phase.sent().and_then(Option::take);
        if let Some(sent) = &sent {
            let added = sent.restore(host, count);
            self.learned.learn_added(host, exchange, added);
        }
        exchange.phase.answer(sent.filter(|_| !end));
    }

    fn judge(&mut self, host: &impl Host, exchange: &mut Exchange, end: bool) -> Flow {
        let Some(mut forwarded) = exchange.phase.begin_judging() else {
            return Flow::Continue;
        };
        let started_ns = host.now_ns();
        let ctx = Ctx::new(host, started_ns / 1_000_000);
        self.join(ctx);
        let flow = self.judge_response(ctx, exchange, &mut forwarded, end);
        if exchange.phase.is_judged() {
            self.count_head(ctx, &mut forwarded);
        }
        if let Some(mut forwarded) = exchange.phase.end_judging(forwarded) {
            let fetched = fetch_failed(&forwarded);
            self.complete_fetch(ctx, &mut forwarded.flight, fetched);
            self.settle_forwarded(ctx, exchange, &mut forwarded);
        }
        exchange.note_inside(host, started_ns);
        flow
    }

    fn judge_response(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        end: bool,
    ) -> Flow {
        let Ok(map) = ctx.host.header_map(MapKind::Response) else {
            return Flow::Continue;
        };
        let response = Fields::from(header_map::parse(&map));
        let status = response
            .get(b":status")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
            .unwrap_or(0);
        forwarded.status = status;
        forwarded.answered_after_ms = Some(ctx.now_ms.saturating_sub(forwarded.sent_ms));
        forwarded.ended = end;
        let details = note_origin(ctx.host, forwarded, status, &response);
        exchange.reached |= forwarded.from_origin;
        let request_map = Rc::clone(&forwarded.request);
        let (Some(cache_request), Some(route)) = (
            CacheRequest::read(Fields::from(header_map::parse(&request_map))),
            exchange.route.clone(),
        ) else {
            return Flow::Continue;
        };
        let content = exchange.content.key();
        let cache_request = cache_request.with_content(content.as_deref());
        forwarded.verdict = Verdict::of(&cache_request.fields, &response, status);
        if let Some(details) = details.as_deref().filter(|_| forwarded.key.is_some()) {
            self.note_refusal(ctx, exchange, details);
        }
        if let Some((failure, class)) = details.and_then(|details| failed(ctx.host, status, &details)) {
            if let Some(flow) = self.stale_instead(ctx, exchange, forwarded, &cache_request, failure, class) {
                return flow;
            }
            if failure == Failure::Unreachable
                && let Some(flow) = self.explain_failure(ctx.host, exchange, forwarded, class)
            {
                return flow;
            }
        }
        let (mut stored, mut is_promised) = (false, false);
        if forwarded.from_origin && route.cache {
            let stored_as = stored_as(&cache_request, status, &response, &route);
            let validated = status == 304 && forwarded.validating;
            let seen = storability::Exchange {
                method: stored_as,
                request: &cache_request.fields,
                status,
                response: &response,
                request_time_ms: forwarded.sent_ms,
                response_time_ms: ctx.now_ms,
                framing: framing(ctx.host, cache_request.method, status, &response),
                identity_in_key: route.key.isolate_authorization,
                stated_freshness_only: cache_request.is_posted_read(),
                // Of a response that may be stored Envoy is asked later on.
                hidden_credentials: (validated || cache_request.method == Method::Head)
                    && has_hidden_credentials(ctx.host, &cache_request.fields),
            };
            self.invalidate(ctx, exchange, &cache_request, &route, status, &response);
            if validated
                && is_from_origin(ctx.host, forwarded)
                && let Some(flow) = self.freshen(ctx, exchange, forwarded, &cache_request, &seen, &route)
            {
                return flow;
            }
            if status == 200
                && forwarded.validating
                && let Some(held) = &forwarded.stored
                && let Ok(view) = StoredView::decode(&held.bytes, false)
            {
                self.validated(&route, view.response_time_ms(), true, ctx.now_ms);
            }
            if stored_as == Method::Get && cache_request.method.is_unsafe() && !exchange.ambiguous {
                forwarded.key = self.key_of_posted(ctx.host, exchange, &cache_request, &route);
                // Born after the invalidation that it has itself caused.
                forwarded.purge_generation = self.invalidation_log.purge_generation();
                exchange.came = forwarded.key.is_some().then(|| Rc::clone(&request_map));
            }
            if cache_request.method == Method::Head && is_from_origin(ctx.host, forwarded) {
                self.compare_head(ctx, forwarded, &seen, &route);
            }
            stored = self.capture(ctx.host, forwarded, &seen, &route, exchange.routed.as_ref());
            // Of what is not stored for what requests are given, it is to be seen whether they still are.
            exchange.stores |= stored || forwarded.given_behind;
            is_promised = stored && is_known_ahead(forwarded, seen.framing);
        }
        mark_forwarded(ctx.host, forwarded, &response, is_promised);
        if !stored {
            let fetched = match status {
                500 | 502 | 503 | 504 => fetch_failed(forwarded),
                _ => FetchOutcome::NotShareable,
            };
            self.complete_fetch(ctx, &mut forwarded.flight, fetched);
        }
        if end && stored {
            self.commit(ctx, forwarded);
        }
        Flow::Continue
    }
}

/// Tells the client, and whoever debugs, what the cache made of the response; hides what is meant for caches only.
fn mark_forwarded(host: &impl Host, forwarded: &Forwarded, response: &Fields<'_>, stored: bool) {
    let status = CacheStatus {
        forward: Some(forwarded.cause),
        stored,
        detail: forwarded.detail,
        ..CacheStatus::default()
    };
    let mut value = Vec::with_capacity(64);
    status.write(response.all(b"cache-status"), &mut value);
    // To append a line costs a quarter of what replacing one does.
    let _ = if response.has(b"cache-status") {
        host.replace_header(MapKind::Response, b"cache-status", &value)
    } else {
        host.add_header(MapKind::Response, b"cache-status", &value)
    };
    for (name, _) in response.iter().filter(|(name, _)| groups::is_tag_field(name)) {
        let _ = host.remove_header(MapKind::Response, name);
    }
}

/// A fetch that came to a server error, the upstream's own or Envoy's in its place.
fn fetch_failed(forwarded: &Forwarded) -> FetchOutcome {
    FetchOutcome::Failed(Failed {
        status: forwarded.status,
        unreachable: !forwarded.from_origin,
    })
}

/// The method under which a response may be stored: a POST can bring what a GET would be answered. One with credentials brings what its
/// user would be.
fn stored_as(cache_request: &CacheRequest<'_>, status: u16, response: &Fields<'_>, route: &RoutePolicy) -> Method {
    let posted = cache_request.fields.get(b":method") == Some(b"POST");
    let is_users = || {
        route
            .freshness
            .sharing
            .is_credentialed(&cache_request.fields, |_| false)
    };
    if posted && storability::represents_target(&cache_request.target, status, response) && !is_users() {
        return Method::Get;
    }
    cache_request.method
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

/// Whether the head may say that the response is stored, though its content is still to come: its length is known and within the limits.
/// What only the upstream's breaking off would make untrue is said.
fn is_known_ahead(forwarded: &mut Forwarded, framing: Framing) -> bool {
    let known = !matches!(framing, Framing::Delimited | Framing::Close);
    if !known {
        forwarded.detail = forwarded.detail.or(Some(Reason::LengthUnknown.as_str()));
    }
    known
}
