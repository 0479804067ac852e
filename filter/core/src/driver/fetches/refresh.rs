//! How a stored response is renewed while it still serves (RFC 5861 section 3, and before it expires): by a request of our own where
//! that reaches the origin as a client's would, else by the client's request that found it due.

use crate::Millis;
use crate::breaker;
use crate::cache::hop_by_hop::is_not_stored;
use crate::cache::request_directives::RequestDirectives;
use crate::cache::reuse::{self, Action, Reuse};
use crate::cache::sharing::is_of_a_trace;
use crate::cache::{CacheKey, NotStored, StoredView, validation};
use crate::collapse::FetchOutcome;
use crate::driver::exchange::plan::{CallPermit, Refreshing, Renewal};
use crate::driver::exchange::{Exchange, Forwarded};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::limit::Place;
use crate::reason::Reason;

/// With these a client asks for something else than the whole response.
const PARTIAL: [&[u8]; 4] = [b"range", b"if-range", b"if-match", b"if-unmodified-since"];
/// Fields of a response that one response has and the next one may have otherwise, or not.
const OF_ONE_RESPONSE: [&[u8]; 4] = [b"date", b"content-length", b"cache-status", b"set-cookie"];
/// Fields that say how a response is to be treated. An origin seldom changes them; a rule of Envoy's route does.
const TREATMENT: [&[u8]; 24] = [
    b"cache-control",
    b"cdn-cache-control",
    b"surrogate-control",
    b"vary",
    b"content-type",
    b"content-encoding",
    b"content-language",
    b"content-disposition",
    b"content-security-policy",
    b"content-security-policy-report-only",
    b"strict-transport-security",
    b"x-frame-options",
    b"x-content-type-options",
    b"x-xss-protection",
    b"x-robots-tag",
    b"referrer-policy",
    b"permissions-policy",
    b"timing-allow-origin",
    b"location",
    b"link",
    b"allow",
    b"accept-ranges",
    b"server",
    b"alt-svc",
];

fn is_treatment(name: &[u8]) -> bool {
    TREATMENT.contains(&name) || name.starts_with(b"access-control-") || name.starts_with(b"cross-origin-")
}

fn counts(name: &[u8], response: &Fields<'_>) -> bool {
    !is_not_stored(name, response)
        && !name.starts_with(b"x-envoy-")
        && !OF_ONE_RESPONSE.contains(&name)
        && !is_of_a_trace(name)
}

/// Whether a new response has the fields of the stored one, and asks for the same treatment.
pub(crate) fn is_alike(stored: &StoredView<'_>, response: &Fields<'_>) -> bool {
    agrees(stored, response)
        && stored
            .fields()
            .all(|(name, _)| !counts(name, response) || response.has(name))
}

/// Whether a 304 says nothing of the stored response that was not said with it.
pub(crate) fn agrees(stored: &StoredView<'_>, response: &Fields<'_>) -> bool {
    let held: Fields<'_> = stored.fields().collect();
    response
        .iter()
        .filter(|(name, _)| counts(name, response))
        .all(|(name, _)| held.has(name) && (!is_treatment(name) || held.all(name).eq(response.all(name))))
}

/// How the stored response of a renewal would have answered.
pub(crate) fn would_answer(
    view: &StoredView<'_>,
    directives: &RequestDirectives,
    refreshing: Refreshing,
    now_ms: Millis,
) -> Option<Reuse> {
    let reuse = reuse::decide(view, directives, refreshing.soft, now_ms);
    matches!(reuse.action, Action::Serve | Action::ServeAndRevalidate).then_some(reuse)
}

impl Vm {
    /// Whether this request is to renew what would answer it. One does at a time, the others are answered meanwhile; and only one that
    /// is called for at once, as nobody is to wait for what is there.
    pub(crate) fn renews(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &Exchange,
        request: &CacheRequest<'_>,
        found: (&CacheKey, &StoredView<'_>),
        soft: bool,
    ) -> Option<Renewal> {
        let (key, view) = found;
        let routed = exchange.routed.as_ref()?;
        let own = |name: &[u8]| request.fields.has(name);
        let conditional = validation::Conditional::REPLACED.iter().any(|name| own(name));
        if request.method != Method::Get
            || PARTIAL.iter().any(|name| own(name))
            || conditional && validation::conditional(view, &request.fields).is_empty()
            || exchange.collapsed
        {
            return None;
        }
        let reason = if request.content.is_some() {
            Reason::ContentOnce
        } else if CacheKey::is_searched(key.as_bytes()) {
            Reason::ManyQueries
        } else {
            self.learned
                .forwarding
                .foreground(&routed.pair, key.hash(), ctx.now_ms)?
        };
        if self.flights.unshared.knows(key.hash(), ctx.now_ms)
            || breaker::is_resting(ctx.host, &exchange.upstream, &self.policies.breaker, ctx.now_ms)
        {
            return None;
        }
        let flight = self.lead_refresh(ctx, key.hash())?;
        let Some(leave) = self.leave_to_renew(ctx, exchange, soft) else {
            self.complete_fetch(ctx, &mut Some(flight), FetchOutcome::Released);
            return None;
        };
        self.recorder.reason(reason);
        Some(Renewal { flight, leave })
    }

    fn leave_to_renew(&mut self, ctx: Ctx<'_, impl Host>, exchange: &Exchange, soft: bool) -> Option<CallPermit> {
        let place = self.take_place(ctx, &exchange.upstream, false);
        if matches!(place, Place::Full | Place::Wait) {
            return None;
        }
        let placed = place == Place::Taken;
        match self.admit(ctx, exchange, true) {
            Ok(permits) => Some(CallPermit {
                placed,
                permits,
                refreshing: Some(Refreshing { soft }),
            }),
            Err(_) => {
                if placed {
                    self.give_place(ctx.host, &exchange.upstream, None);
                }
                None
            }
        }
    }

    /// A renewal brought what may not be stored: then what it was to renew may not be served on, unless only this client's answer is
    /// not to be stored.
    pub(super) fn drop_renewed(&mut self, host: &impl Host, forwarded: &Forwarded, reason: &NotStored) {
        if matches!(reason, NotStored::Authorization | NotStored::RequestNoStore) || forwarded.refreshing.is_none() {
            return;
        }
        if let Some(stored) = &forwarded.stored {
            self.store.discard(host, stored.id);
        }
    }
}
