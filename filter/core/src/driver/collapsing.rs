//! Request collapsing at work: who fetches, who follows, and what those who followed do next.

use super::brownout::Shed;
use super::exchange::{Exchange, Flow, Forwarded, Phase};
use super::host::Host;
use super::on_request::Onward;
use super::vm::Vm;
use crate::Millis;
use crate::breaker::{OutcomeClass, classify};
use crate::cache::request_directives::RequestDirectives;
use crate::cache::reuse::{self, Failure};
use crate::cache::{Forward, StoredView, selecting};
use crate::collapse::{self, Boarding, Failed, Landing, Outcome, Retry, Ticket};
use crate::engine::Asked;
use crate::http::method::Method;
use crate::learned::{IN_VAIN, STORED};
use crate::policy::RoutePolicy;

/// A fetch that others may follow, and the hash of its cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) ticket: Ticket,
    pub(super) key: u64,
    /// Hash of the route's name; 0 for a fetch of our own.
    pub(super) route: u64,
}

/// A request that follows another's fetch.
#[derive(Debug)]
pub(super) struct Follower {
    /// Its header map.
    pub(super) request: Vec<u8>,
    /// The flight's hash.
    pub(super) hash: u64,
    /// Since when it follows.
    pub(super) since_ms: Millis,
    /// The fetch that it followed first has failed.
    pub(super) retried: bool,
}

/// At what point a request is decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has just come. `may_follow`: there is room for one more that waits.
    First {
        may_follow: bool,
        since_ms: Millis,
        retried: bool,
    },
    /// The fetch that it followed since then has brought a response.
    Landed { since_ms: Millis },
    /// What it followed cannot answer it.
    Alone,
    /// What it followed has failed, or, without a failure, its second attempt was given up.
    Retry { since_ms: Millis, failed: Option<Failed> },
    /// What it followed has failed for the last time.
    Failed(Failed),
    /// What it follows is silent: it fetches beside it.
    Beside(Lead),
}

impl Turn {
    /// Of a follower, by what its flight came to.
    pub(super) fn after(outcome: Outcome, since_ms: Millis, retried: bool) -> Self {
        match outcome.landing {
            Landing::Stored => Self::Landed { since_ms },
            Landing::NotShareable | Landing::Released => Self::Alone,
            Landing::Left if retried => Self::Retry { since_ms, failed: None },
            Landing::Left => Self::First {
                may_follow: true,
                since_ms,
                retried,
            },
            Landing::Failed(failed) if retried || outcome.second => Self::Failed(failed),
            Landing::Failed(failed) => Self::Retry {
                since_ms,
                failed: Some(failed),
            },
        }
    }

    /// Since when the request has followed another's fetch that has now brought a response.
    pub(super) fn landed_since(self) -> Option<Millis> {
        match self {
            Self::Landed { since_ms } => Some(since_ms),
            _ => None,
        }
    }
}

/// Whether a request fetches, and for whom.
pub(super) enum Part {
    /// It fetches; others may follow it where it leads.
    Fetch(Option<Lead>),
    /// It fetches, for itself alone: the flight with this hash is not worth following.
    Unshared(u64),
    /// It follows another's fetch.
    Follow { hash: u64, since_ms: Millis, retried: bool },
    /// The fetch was made for it, and has failed.
    Failed(Failed),
}

/// Whether others may follow this fetch, and it theirs. Not when the answer is for one client by its nature (a range, an identity),
/// or when the client itself asks for a new one, or for one that is not stored.
pub(super) fn is_shareable(
    asked: &Asked<'_>,
    onward: &Onward,
    route: &RoutePolicy,
    directives: &RequestDirectives,
) -> bool {
    asked.method == Method::Get
        && onward.cause != Forward::Request
        && !directives.no_store
        && !directives.no_cache
        && directives.max_age.is_none()
        && !asked.fields.has(b"range")
        && (route.key.isolate_authorization || !asked.fields.has(b"authorization"))
}

impl Vm {
    /// The part of a request that has to be forwarded.
    pub(super) fn take_part(
        &mut self,
        host: &impl Host,
        asked: &Asked<'_>,
        onward: &Onward,
        route: &RoutePolicy,
        turn: Turn,
        now_ms: Millis,
    ) -> Part {
        match turn {
            Turn::Failed(failed) => return Part::Failed(failed),
            Turn::Beside(lead) => return Part::Fetch(Some(lead)),
            // Something stale answers at once.
            Turn::Retry {
                failed: Some(failed), ..
            } if may_serve_stale(asked, onward, route, failed, now_ms) => return Part::Failed(failed),
            _ => {}
        }
        let policy = self.policies.collapsing;
        let directives = asked.directives(&route.freshness);
        let shareable = policy.enabled && is_shareable(asked, onward, route, &directives);
        let Some(key) = onward.key.as_ref().filter(|_| shareable) else {
            return Part::Fetch(None);
        };
        let key = key.hash();
        let hash = self.flight_hash(asked, route, key, now_ms);
        let deadline_ms = policy.timeout_ms;
        match turn {
            Turn::Alone | Turn::Failed(_) | Turn::Beside(_) => Part::Unshared(hash),
            Turn::Retry { since_ms, .. } => {
                let number = self.flight_number();
                match collapse::retry(host, hash, number, since_ms, deadline_ms, now_ms) {
                    Retry::Lead(ticket) => Part::Fetch(Some(Lead {
                        ticket,
                        key,
                        route: route_hash(route),
                    })),
                    Retry::Follow => Part::Follow {
                        hash,
                        since_ms,
                        retried: true,
                    },
                    Retry::Failed(failed) => Part::Failed(failed),
                    Retry::Alone => Part::Fetch(None),
                }
            }
            Turn::First { .. } | Turn::Landed { .. } if self.unshared.knows(hash, now_ms) => Part::Unshared(hash),
            Turn::First { .. } if onward.stored.is_none() && self.waits_in_vain(route, now_ms) => Part::Unshared(hash),
            Turn::First { .. } | Turn::Landed { .. } => {
                let number = self.flight_number();
                match (collapse::board(host, hash, number, deadline_ms, now_ms), turn) {
                    (Boarding::Lead(ticket), _) => Part::Fetch(Some(Lead {
                        ticket,
                        key,
                        route: route_hash(route),
                    })),
                    (
                        Boarding::Follow,
                        Turn::First {
                            may_follow: true,
                            since_ms,
                            retried,
                        },
                    ) => Part::Follow {
                        hash,
                        since_ms,
                        retried,
                    },
                    (Boarding::Unshared(until), _) => {
                        self.unshared.note(hash, until, now_ms);
                        Part::Unshared(hash)
                    }
                    (Boarding::Follow | Boarding::Alone, _) => Part::Fetch(None),
                }
            }
        }
    }

    /// What the requests of one flight have in common: the cache key, the fields by which responses of the route vary, and whether
    /// they carry credentials, which decide whether the response may be shared.
    fn flight_hash(&self, asked: &Asked<'_>, route: &RoutePolicy, key: u64, now_ms: Millis) -> u64 {
        let mut names = self.varied.of(route_hash(route), now_ms).peekable();
        let variant = match names.peek() {
            None => 0,
            Some(_) => selecting::variant_hash(names, &asked.fields),
        };
        let credentials = asked.fields.has(b"cookie") || asked.fields.has(b"proxy-authorization");
        key ^ variant ^ u64::from(credentials)
    }

    /// Part in the flight of a key for a refresh of our own; `None` where another fetches it already.
    pub(super) fn lead_refresh(&mut self, host: &impl Host, key: u64, now_ms: Millis) -> Option<Lead> {
        let number = self.flight_number();
        match collapse::board(host, key, number, self.policies.collapsing.timeout_ms, now_ms) {
            Boarding::Lead(ticket) => Some(Lead { ticket, key, route: 0 }),
            _ => None,
        }
    }

    /// A number that no other flight has, of this VM or another.
    fn flight_number(&mut self) -> u64 {
        self.flights = self.flights.wrapping_add(1);
        self.uid.wrapping_add(self.flights.rotate_left(20)).max(1)
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
    pub(super) fn learn_stored(&mut self, host: &impl Host, route: &RoutePolicy, now_ms: Millis) {
        self.shares.learn(host, route_hash(route), &[STORED.to_vec()], now_ms);
    }

    /// Remembers by which fields responses of this route are selected.
    pub(super) fn learn_vary(&mut self, host: &impl Host, route: &RoutePolicy, vary: &[Vec<u8>], now_ms: Millis) {
        if !vary.is_empty() {
            self.varied.learn(host, route_hash(route), vary, now_ms);
        }
    }

    /// Lands the flight of a fetch whose stream has ended before its response was judged or whole.
    pub(super) fn land_ended(&mut self, host: &impl Host, forwarded: &mut Forwarded, now_ms: Millis) {
        if forwarded.flight.is_none() {
            return;
        }
        let flags = super::on_end::response_flags(host);
        let details = host.property(b"response\0code_details").unwrap_or_default();
        let landing = match classify(flags, &details, forwarded.status) {
            OutcomeClass::ClientGone => Landing::Left,
            OutcomeClass::Timeout => unreachable(504),
            OutcomeClass::ConnectFailure | OutcomeClass::Refused | OutcomeClass::Overflow => unreachable(503),
            OutcomeClass::Reset | OutcomeClass::ProtocolError => unreachable(502),
            OutcomeClass::Local if is_clients_reset(flags) => Landing::Left,
            // It ended without a response of its own, as where Envoy follows a redirect itself: there is nothing to share.
            OutcomeClass::Local | OutcomeClass::Status(_) => Landing::NotShareable,
        };
        self.land(host, &mut forwarded.flight, landing, now_ms);
    }

    /// The fetch that was made for this request has failed: something stale where that is allowed, else the failure.
    pub(super) fn answer_failed(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        map: &[u8],
        onward: &Onward,
        failed: Failed,
        now_ms: Millis,
    ) -> Flow {
        self.shed(host, exchange, map, onward, &Shed::fetch_failed(failed), now_ms)
    }

    /// Follows another's fetch.
    pub(super) fn follow(exchange: &mut Exchange, follower: Follower) -> Flow {
        exchange.collapsed = true;
        exchange.phase = Phase::Waiting(Box::new(follower));
        Flow::Pause
    }
}

/// The client of a stream of HTTP/2 has reset it (Envoy's flag `DR`).
fn is_clients_reset(flags: u64) -> bool {
    flags & 1 << 28 != 0
}

fn unreachable(status: u16) -> Landing {
    Landing::Failed(Failed {
        status,
        unreachable: true,
    })
}

/// The way a fetch failed, as the rules for stale responses tell it.
pub(super) fn failure(failed: Failed) -> Failure {
    if failed.unreachable {
        Failure::Unreachable
    } else {
        Failure::ServerError
    }
}

/// Whether what is stored may answer, stale, in place of this failure.
fn may_serve_stale(asked: &Asked<'_>, onward: &Onward, route: &RoutePolicy, failed: Failed, now_ms: Millis) -> bool {
    let Some((bytes, _)) = &onward.stored else {
        return false;
    };
    let Ok(view) = StoredView::decode(bytes, false) else {
        return false;
    };
    let directives = asked.directives(&route.freshness);
    reuse::on_failure(&view, &directives, &route.freshness, failure(failed), now_ms).is_some()
}

fn route_hash(route: &RoutePolicy) -> u64 {
    xxhash_rust::xxh3::xxh3_64(route.name.as_bytes())
}
