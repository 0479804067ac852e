//! Request collapsing at work: who fetches and who follows.

use crate::Millis;
use crate::breaker::{OutcomeClass, classify};
use crate::cache::request_directives::RequestDirectives;
use crate::cache::reuse;
use crate::cache::{Forward, StoredView, selecting};
use crate::collapse::{self, Failed, FetchOutcome, FlightRole, Retry};
use crate::driver::exchange::Forwarded;
use crate::driver::exchange::client_limits;
use crate::driver::exchange::flights::{FlightPermit, Flights};
use crate::driver::exchange::lifecycle::{Follower, Turn};
use crate::driver::exchange::plan::ForwardPlan;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::reply::brownout::failure;
use crate::driver::upstream::origin::response_flags;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::method::Method;
use crate::learned::{IN_VAIN, STORED};
use crate::policy::RoutePolicy;

/// Whether a request fetches, and for whom.
pub(crate) enum Part {
    /// It fetches; others may follow it where it leads.
    Fetch(Option<FlightPermit>),
    /// It fetches, for itself alone: the flight with this hash is not worth following.
    Unshared(u64),
    /// It follows another's fetch.
    Follow(Follower),
    /// The fetch was made for it, and has failed.
    Failed(Failed),
}

/// Whether others may follow this fetch, and it theirs. Not when the answer is for one client by its nature (a range, an identity),
/// when the client itself asks for a new one, or for one that is not stored, or when it does not wait as long as others.
pub(crate) fn is_shareable(
    request: &CacheRequest<'_>,
    onward: &ForwardPlan,
    route: &RoutePolicy,
    directives: &RequestDirectives,
) -> bool {
    request.method == Method::Get
        && onward.cause != Forward::Request
        && !directives.no_store
        && !directives.no_cache
        && directives.max_age.is_none()
        && !request.fields.has(b"range")
        && !client_limits::is_limited(&request.fields)
        && (route.key.isolate_authorization || !request.fields.has(b"authorization"))
}

impl Flights {
    /// What the requests of one flight have in common: the cache key, the fields by which responses of the route vary, and whether
    /// they carry credentials, which decide whether the response may be shared.
    fn flight_hash(&self, request: &CacheRequest<'_>, route: &RoutePolicy, key: u64, now_ms: Millis) -> u64 {
        let mut names = self.varied.of(route_hash(route), now_ms).peekable();
        let variant = match names.peek() {
            None => 0,
            Some(_) => selecting::variant_hash(names, &request.fields),
        };
        let credentials = request.fields.has(b"cookie") || request.fields.has(b"proxy-authorization");
        key ^ variant ^ u64::from(credentials)
    }

    /// A response was stored: what was thought not to be shareable is.
    pub(super) fn shared_after_all(&mut self, host: &impl Host, forwarded: &mut Forwarded) {
        if let Some(hash) = forwarded.unshared.take() {
            self.unshared.forget(hash);
            collapse::forget(host, hash);
        }
    }

    /// Whether nobody needs to wait for a response of this route of which nothing is known: somebody lately has in vain, and nothing of
    /// the route was there to store.
    fn waits_in_vain(&self, route: &RoutePolicy, now_ms: Millis) -> bool {
        let of = |what| self.shares.of(route_hash(route), now_ms).any(|text| text == what);
        of(IN_VAIN) && !of(STORED)
    }

    /// Remembers that responses of this route are there to store.
    pub(crate) fn learn_stored(&mut self, ctx: Ctx<'_, impl Host>, route: &RoutePolicy) {
        let texts = [STORED.to_vec()];
        self.shares.learn(ctx.host, route_hash(route), &texts, ctx.now_ms);
    }

    /// Remembers by which fields responses of this route are selected.
    pub(super) fn learn_vary(&mut self, ctx: Ctx<'_, impl Host>, route: &RoutePolicy, vary: &[Vec<u8>]) {
        if !vary.is_empty() {
            self.varied.learn(ctx.host, route_hash(route), vary, ctx.now_ms);
        }
    }
}

impl Vm {
    /// The part of a request that has to be forwarded.
    pub(crate) fn take_part(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        request: &CacheRequest<'_>,
        onward: &ForwardPlan,
        route: &RoutePolicy,
        turn: Turn,
    ) -> Part {
        match turn {
            Turn::Failed(failed) => return Part::Failed(failed),
            // It has its part already.
            Turn::Beside => return Part::Fetch(None),
            // Something stale answers at once.
            Turn::Retry {
                failed: Some(failed), ..
            } if may_serve_stale(request, onward, route, failed, ctx.now_ms) => return Part::Failed(failed),
            _ => {}
        }
        let policy = &self.policies.settings.request_collapsing;
        let directives = request.directives(&route.freshness);
        let shareable = policy.enabled && is_shareable(request, onward, route, &directives);
        let Some(key) = onward.key.as_ref().filter(|_| shareable) else {
            return Part::Fetch(None);
        };
        let key = key.hash();
        let hash = self.flights.flight_hash(request, route, key, ctx.now_ms);
        let deadline_ms = policy.timeout_ms;
        match turn {
            Turn::Alone | Turn::Failed(_) | Turn::Beside => Part::Unshared(hash),
            Turn::Retry { since_ms, .. } => {
                let number = self.flights.number(self.uid);
                match collapse::retry(ctx.host, hash, number, since_ms, deadline_ms, ctx.now_ms) {
                    Retry::Lead(ticket) => Part::Fetch(Some(self.flights.permit(ticket, key, route_hash(route)))),
                    Retry::Follow => Part::Follow(Follower {
                        hash,
                        since_ms,
                        retried: true,
                    }),
                    Retry::Failed(failed) => Part::Failed(failed),
                    Retry::Alone => Part::Fetch(None),
                }
            }
            Turn::First { .. } | Turn::Landed { .. } if self.flights.unshared.knows(hash, ctx.now_ms) => {
                Part::Unshared(hash)
            }
            Turn::First { .. } if onward.stored.is_none() && self.flights.waits_in_vain(route, ctx.now_ms) => {
                Part::Unshared(hash)
            }
            Turn::First { .. } | Turn::Landed { .. } => {
                let number = self.flights.number(self.uid);
                match (
                    collapse::join_flight(ctx.host, hash, number, deadline_ms, ctx.now_ms),
                    turn,
                ) {
                    (FlightRole::Lead(ticket), _) => {
                        Part::Fetch(Some(self.flights.permit(ticket, key, route_hash(route))))
                    }
                    (FlightRole::Follow, Turn::First { since_ms, retried }) if self.parked.has_space() => {
                        Part::Follow(Follower {
                            hash,
                            since_ms,
                            retried,
                        })
                    }
                    (FlightRole::Unshared(until), _) => {
                        self.flights.unshared.note(hash, until, ctx.now_ms);
                        Part::Unshared(hash)
                    }
                    (FlightRole::Follow | FlightRole::Alone, _) => Part::Fetch(None),
                }
            }
        }
    }

    /// Part in the flight of a key for a refresh of our own; `None` where another fetches it already.
    pub(crate) fn lead_refresh(&mut self, ctx: Ctx<'_, impl Host>, key: u64) -> Option<FlightPermit> {
        let number = self.flights.number(self.uid);
        match collapse::join_flight(
            ctx.host,
            key,
            number,
            self.policies.settings.request_collapsing.timeout_ms,
            ctx.now_ms,
        ) {
            FlightRole::Lead(ticket) => Some(self.flights.permit(ticket, key, 0)),
            _ => None,
        }
    }

    /// Lands the flight of a fetch whose stream has ended before its response was judged or whole.
    pub(crate) fn complete_ended(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded) {
        if forwarded.flight.is_none() {
            return;
        }
        let flags = response_flags(ctx.host);
        let details = ctx.host.property(b"response\0code_details").unwrap_or_default();
        let fetched = match classify(flags, &details, forwarded.status) {
            OutcomeClass::ClientGone => FetchOutcome::Left,
            OutcomeClass::Timeout => unreachable(504),
            OutcomeClass::ConnectFailure | OutcomeClass::Refused | OutcomeClass::Overflow => unreachable(503),
            OutcomeClass::Reset | OutcomeClass::ProtocolError => unreachable(502),
            OutcomeClass::Local if is_clients_reset(flags) => FetchOutcome::Left,
            // It ended without a response of its own, as where Envoy follows a redirect itself: there is nothing to share.
            OutcomeClass::Local | OutcomeClass::Status(_) => FetchOutcome::NotShareable,
        };
        self.complete_fetch(ctx, &mut forwarded.flight, fetched);
    }
}

/// The client of a stream of HTTP/2 has reset it (Envoy's flag `DR`).
fn is_clients_reset(flags: u64) -> bool {
    flags & 1 << 28 != 0
}

fn unreachable(status: u16) -> FetchOutcome {
    FetchOutcome::Failed(Failed {
        status,
        unreachable: true,
    })
}

/// Whether what is stored may answer, stale, in place of this failure.
fn may_serve_stale(
    request: &CacheRequest<'_>,
    onward: &ForwardPlan,
    route: &RoutePolicy,
    failed: Failed,
    now_ms: Millis,
) -> bool {
    let Some(held) = &onward.stored else {
        return false;
    };
    let Ok(view) = StoredView::decode(&held.bytes, false) else {
        return false;
    };
    let directives = request.directives(&route.freshness);
    reuse::on_failure(&view, &directives, &route.freshness, failure(failed), now_ms).is_some()
}

fn route_hash(route: &RoutePolicy) -> u64 {
    xxhash_rust::xxh3::xxh3_64(route.name.as_bytes())
}
