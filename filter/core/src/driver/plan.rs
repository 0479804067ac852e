//! How a request is to be forwarded, and what it holds for that.

use super::collected::Collected;
use super::flights::FlightPermit;
use super::tier_client::{Question, TierAnswer};
use crate::breaker::Permit;
use crate::cache::{CacheKey, Forward};
use crate::store::{EntryId, Found, PurgeGeneration};
use bytes::Bytes;

/// Tells an origin that speaks Surrogate-Control whom it may address.
pub(super) const SURROGATE_CAPABILITY: &[u8] = b"api-optimizer=\"Surrogate/1.0\"";

/// Servers disagree on which route the request belongs to.
pub(super) const AMBIGUOUS: &str = "ambiguous-path";

/// A stored response held while the request waits or is forwarded. It may be purged meanwhile.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bytes: Bytes,
    pub(super) id: EntryId,
    pub(super) purge_generation: PurgeGeneration,
}

impl Stored {
    pub(super) fn of(found: Found) -> Self {
        Self {
            id: found.id,
            purge_generation: found.purge_generation,
            bytes: found.into_value(),
        }
    }
}

/// How a request is forwarded.
#[derive(Debug)]
pub(super) struct ForwardPlan {
    pub(super) cause: Forward,
    pub(super) detail: Option<&'static str>,
    pub(super) key: Option<CacheKey>,
    pub(super) stored: Option<Box<Stored>>,
    pub(super) validate: bool,
}

/// What a request holds on its way to the upstream, and gives back where it does not get there.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Others may follow this fetch.
    pub(super) flight: Option<FlightPermit>,
    /// What it asks for was not worth collapsing until now: the flight's hash.
    pub(super) unshared: Option<u64>,
    pub(super) leave: CallPermit,
    /// What the tier is asked next, where that is not the first question.
    pub(super) question: Option<Question>,
}

/// All that a request needs to call its upstream: a place and the breakers' permits.
#[derive(Debug, Default)]
pub(super) struct CallPermit {
    /// It holds a place within the upstream's concurrency limit.
    pub(super) placed: bool,
    pub(super) permits: Vec<Permit>,
    pub(super) refreshing: Option<Refreshing>,
}

/// A request that is forwarded in order to renew what would have answered it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refreshing {
    /// It was marked stale by a purge.
    pub(super) soft: bool,
}

/// What a client's request needs to renew what would have answered it.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) flight: FlightPermit,
    pub(super) leave: CallPermit,
}

impl ForwardPlan {
    pub(super) fn plain(cause: Forward) -> Self {
        Self {
            cause,
            detail: None,
            key: None,
            stored: None,
            validate: false,
        }
    }
}

impl Holdings {
    /// It renews what would have answered it, and has leave for that.
    pub(super) fn renews(&self) -> bool {
        self.leave.refreshing.is_some()
    }
}

/// A request between two steps: its header map, and how it is to be forwarded.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Vec<u8>,
    pub(super) plan: ForwardPlan,
    pub(super) holds: Holdings,
    /// What the tier has answered, until it is read.
    pub(super) answer: Option<Box<TierAnswer>>,
    /// Its content, while it waits for the rest of it.
    pub(super) content: Option<Collected>,
}

impl Pending {
    /// Of a request that has just come.
    pub(super) fn new(request: Vec<u8>) -> Self {
        Self {
            request,
            plan: ForwardPlan::plain(Forward::Bypass),
            holds: Holdings::default(),
            answer: None,
            content: None,
        }
    }
}
