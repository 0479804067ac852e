//! How a request is to be forwarded, and what it holds for that.

use super::collected::Collected;
use super::flights::FlightPermit;
use super::tier_client::{Question, TierAnswer};
use crate::breaker::Permit;
use crate::cache::{CacheKey, Forward};
use crate::store::{EntryId, Found, PurgeGeneration};
use bytes::Bytes;

/// Tells an origin that speaks Surrogate-Control whom it may address.
pub(crate) const SURROGATE_CAPABILITY: &[u8] = b"api-optimizer=\"Surrogate/1.0\"";

/// Servers disagree on which route the request belongs to.
pub(crate) const AMBIGUOUS: &str = "ambiguous-path";

/// A stored response held while the request waits or is forwarded. It may be purged meanwhile.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) id: EntryId,
    pub(crate) purge_generation: PurgeGeneration,
}

impl Stored {
    pub(crate) fn of(found: Found) -> Self {
        Self {
            id: found.id,
            purge_generation: found.purge_generation,
            bytes: found.into_value(),
        }
    }
}

/// How a request is forwarded.
#[derive(Debug)]
pub(crate) struct ForwardPlan {
    pub(crate) cause: Forward,
    pub(crate) detail: Option<&'static str>,
    pub(crate) key: Option<CacheKey>,
    pub(crate) stored: Option<Box<Stored>>,
    pub(crate) validate: bool,
}

/// What a request holds on its way to the upstream, and gives back where it does not get there.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// Others may follow this fetch.
    pub(crate) flight: Option<FlightPermit>,
    /// What it asks for was not worth collapsing until now: the flight's hash.
    pub(crate) unshared: Option<u64>,
    pub(crate) leave: CallPermit,
    /// What the tier is asked next, where that is not the first question.
    pub(crate) question: Option<Question>,
}

/// All that a request needs to call its upstream: a place and the breakers' permits.
#[derive(Debug, Default)]
pub(crate) struct CallPermit {
    /// It holds a place within the upstream's concurrency limit.
    pub(crate) placed: bool,
    pub(crate) permits: Vec<Permit>,
    pub(crate) refreshing: Option<Refreshing>,
}

/// A request that is forwarded in order to renew what would have answered it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refreshing {
    /// It was marked stale by a purge.
    pub(crate) soft: bool,
}

/// What a client's request needs to renew what would have answered it.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) flight: FlightPermit,
    pub(crate) leave: CallPermit,
}

impl ForwardPlan {
    pub(crate) fn plain(cause: Forward) -> Self {
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
    pub(crate) fn renews(&self) -> bool {
        self.leave.refreshing.is_some()
    }
}

/// A request between two steps: its header map, and how it is to be forwarded.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: Vec<u8>,
    pub(crate) plan: ForwardPlan,
    pub(crate) holds: Holdings,
    /// What the tier has answered, until it is read.
    pub(crate) answer: Option<Box<TierAnswer>>,
    /// Its content, while it waits for the rest of it.
    pub(crate) content: Option<Collected>,
}

impl Pending {
    /// Of a request that has just come.
    pub(crate) fn new(request: Vec<u8>) -> Self {
        Self {
            request,
            plan: ForwardPlan::plain(Forward::Bypass),
            holds: Holdings::default(),
            answer: None,
            content: None,
        }
    }
}
