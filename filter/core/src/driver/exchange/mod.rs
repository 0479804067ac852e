//! One HTTP stream on its way through the filter: what is remembered between its callbacks.

pub(super) mod client_limits;
pub(super) mod collected;
pub(super) mod destination;
pub(super) mod flights;
pub(super) mod guarded;
pub(super) mod lifecycle;
pub(super) mod phase;
pub(super) mod plan;
pub(super) mod sent;
pub mod streams;
pub(super) mod tier_client;
pub(super) mod verdict;

use super::host::Clock;
use crate::Millis;
use crate::breaker::Permit;
use crate::cache::{Encoder, Forward};
use crate::policy::{Policies, RoutePolicy};
use crate::store::PurgeGeneration;
use flights::FlightPermit;
pub use lifecycle::Flow;
use optimizer_proto::v1::Outcome;
use phase::Phase;
use plan::{Refreshing, Stored};
use std::cell::RefCell;
use std::rc::Rc;

/// A stream as its context and, while it waits, the VM hold it.
pub type SharedExchange = Rc<RefCell<Exchange>>;

/// One stream.
#[derive(Debug)]
pub struct Exchange {
    pub(super) started_ns: u64,
    /// What costs a host call of its own is asked of this stream: one in eight.
    pub(super) sampled: bool,
    /// Nanoseconds spent in our own code so far, where sampled.
    pub(super) inside_ns: u64,
    /// The policies the stream began with; it ends with them, whatever is pushed meanwhile.
    pub(super) policies: Option<Rc<Policies>>,
    pub(super) route: Option<Rc<RoutePolicy>>,
    /// Servers may disagree on its route: it is neither stored nor answered from what is stored.
    pub(super) ambiguous: bool,
    pub(super) upstream: Rc<str>,
    /// Where Envoy sends it; asked of requests that the cache may answer.
    pub(super) routed: Option<destination::Routed>,
    /// The request as it came, until it is seen how it left Envoy.
    pub(super) came: Option<Rc<Vec<u8>>>,
    /// An upstream answered it.
    pub(super) reached: bool,
    /// The bytes of content of a reply of ours that came by with another size.
    pub(super) resized: Option<usize>,
    /// Something was stored, or is to be.
    pub(super) stores: bool,
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
    pub(super) upstream_requests: u8,
    /// How many of them needed no new connection.
    pub(super) upstream_reused: u8,
    /// It waited for another's fetch.
    pub(super) collapsed: bool,
    /// The request's headers did not end it.
    pub(super) content_follows: bool,
    /// What its content makes of it.
    pub(super) content: collected::Content,
    pub(super) phase: Phase,
}

/// A request that was forwarded.
#[derive(Debug)]
pub(crate) struct Forwarded {
    /// The client's header map, as serialized by the host.
    pub(super) request: Rc<Vec<u8>>,
    /// The cache key; absent where the cache is off.
    pub(super) key: Option<crate::cache::CacheKey>,
    /// The key under which its response is stored, where that answers other queries too.
    pub(super) searched: Option<crate::cache::CacheKey>,
    /// When it was sent, it was known that there are such responses, so that every purge since means them as well.
    pub(super) may_be_searched: bool,
    pub(super) cause: Forward,
    pub(super) detail: Option<&'static str>,
    /// Stored bytes that may be validated, or serve when the upstream fails.
    pub(super) stored: Option<Box<Stored>>,
    /// We put the stored response's validators into the request.
    pub(super) validating: bool,
    pub(super) purge_generation: PurgeGeneration,
    /// The place in the shared tier's order of purges when this fetch began; absent where the response is not offered to it.
    pub(super) fence: Option<optimizer_proto::v1::Fence>,
    pub(super) sent_ms: Millis,
    /// Until the response head, milliseconds.
    pub(super) answered_after_ms: Option<u64>,
    pub(super) status: u16,
    /// The response head came from the upstream, and not from Envoy in its place.
    pub(super) from_origin: bool,
    /// Envoy was asked about that. Otherwise it is what the head looks like: enough to count, and not enough to store.
    pub(super) certain: bool,
    /// So did the response's end.
    pub(super) ended: bool,
    pub(super) permits: Vec<Permit>,
    pub(super) verdict: verdict::Verdict,
    /// It holds a place within the upstream's concurrency limit.
    pub(super) placed: bool,
    /// Others may be waiting for this fetch.
    pub(super) flight: Option<FlightPermit>,
    /// It was not worth collapsing until now: the flight's hash.
    pub(super) unshared: Option<u64>,
    pub(super) capture: Option<Capture>,
    /// It is not stored, for what its request is given behind the filter.
    pub(super) given_behind: bool,
    /// What was stored of it.
    pub(super) provisional: Option<ProvisionalEntry>,
    /// How its content flows.
    pub(super) pace: verdict::Pace,
    /// What is stored would have served; the request renews it on the way.
    pub(super) refreshing: Option<Refreshing>,
}

/// A response being stored as it streams by.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) encoder: Encoder,
    pub(super) vary: Vec<Vec<u8>>,
    pub(super) usable_until_ms: Millis,
    /// Bytes counted in the VM's capture budget.
    pub(super) counted: usize,
    /// Until when a body of unknown length is captured; one that flows longer is a stream.
    pub(super) until_ms: Option<Millis>,
    /// It is stored only once it is known how its request left Envoy, at the stream's end.
    pub(super) waits: bool,
    /// The content is whole.
    pub(super) whole: bool,
}

/// A response that was stored before it was known how its request left Envoy.
#[derive(Debug)]
pub(super) struct ProvisionalEntry {
    pub(super) id: crate::store::EntryId,
    pub(super) vary: Vec<Vec<u8>>,
}

thread_local! {
    static NOWHERE: Rc<str> = Rc::from("");
}

/// No upstream.
fn nowhere() -> Rc<str> {
    NOWHERE.with(Rc::clone)
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// A stream that has shown nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started_ns: 0,
            sampled: false,
            inside_ns: 0,
            policies: None,
            route: None,
            ambiguous: false,
            upstream: nowhere(),
            routed: None,
            came: None,
            reached: false,
            resized: None,
            stores: false,
            outcome: Outcome::Bypass,
            bytes: 0,
            upstream_requests: 0,
            upstream_reused: 0,
            collapsed: false,
            content_follows: false,
            content: collected::Content::default(),
            phase: Phase::new(),
        }
    }

    /// What the header rules of its route depend on; `None` where that was not asked.
    pub(super) fn rules(&self) -> Option<u64> {
        self.routed.as_ref().map(|routed| routed.rules)
    }

    /// The request's headers are not all of it.
    pub fn expect_content(&mut self) {
        self.content_follows = true;
    }

    /// Counts the time since a callback began, where this stream is sampled: a reading of the clock is a host call.
    pub(super) fn note_inside(&mut self, host: &impl Clock, began_ns: u64) {
        if self.sampled {
            self.inside_ns += host.now_ns().saturating_sub(began_ns);
        }
    }
}
