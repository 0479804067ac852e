//! One VM's part in the shared tier: what it asks, what it tells, and what it has learned.

use super::lifecycle::TicketId;
use crate::Millis;
use crate::cache::{CacheKey, selecting};
use crate::http::fields::Fields;
use crate::store::PurgeGeneration;
use crate::tier_breaker::TierBreaker;
use optimizer_proto::codes::TierResult;
use optimizer_proto::v1::{Fence, TierFound, TierGet, TierPut, TierRelease, TierSubject};
use std::collections::{HashMap, VecDeque};

pub(crate) const SERVICE: &str = "optimizer.v1.CacheBackend";
/// An answer that is so much overdue will not come.
pub(crate) const LOST_MS: u64 = 500;

/// A question to the tier.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) key: CacheKey,
    pub(crate) request: TierGet,
    pub(crate) timeout_ms: u64,
    /// Asked again with the selecting fields that the tier named.
    pub(crate) varied: bool,
    /// When it was asked first: what the tier gives counts as fetched then.
    pub(crate) purge_generation: PurgeGeneration,
}

/// What the tier has answered, or why it has not.
#[derive(Debug)]
pub(crate) struct TierAnswer {
    pub(crate) question: Question,
    pub(crate) found: Result<TierFound, TierResult>,
}

impl Question {
    /// It waits for another Envoy's fetch.
    pub(crate) fn waits(&self) -> bool {
        self.request.wait_ms > 0
    }
}

/// One thing to tell the tier.
#[derive(Debug)]
pub(crate) enum Work {
    Put(TierPut),
    Release(TierRelease),
    Invalidate(Vec<TierSubject>),
}

/// A call under way.
#[derive(Debug)]
pub(crate) enum Call {
    Ask(TicketId, Question),
    Work(Work),
}

/// One VM's part in the shared tier.
#[derive(Debug, Default)]
pub struct TierClient {
    /// Questions that are to be put in the next root callback.
    pub(crate) asks: VecDeque<(TicketId, Question)>,
    pub(crate) calls: HashMap<u32, Call>,
    pub(crate) work: VecDeque<Work>,
    pub(crate) breaker: TierBreaker,
    /// The place in the tier's order of purges as last heard: a fetch that begins now began after it.
    pub(crate) fence: Option<Fence>,
    /// Names of the selecting fields by the key's hash.
    pub(crate) varying: HashMap<u64, Vec<Vec<u8>>>,
    /// Keys whose lease this VM holds, by their hash.
    pub(crate) leases: HashMap<u64, Vec<u8>>,
    pub(crate) retry_ms: Millis,
}

impl TierClient {
    /// Takes back a request's question, whether it was put already or not.
    pub(crate) fn take_back(&mut self, id: TicketId) -> Option<Question> {
        if let Some(at) = self.asks.iter().position(|(ticket, _)| *ticket == id) {
            return self.asks.remove(at).map(|(_, question)| question);
        }
        let token = self.calls.iter().find_map(|(token, call)| match call {
            Call::Ask(ticket, _) if *ticket == id => Some(*token),
            _ => None,
        })?;
        match self.calls.remove(&token) {
            Some(Call::Ask(_, question)) => Some(question),
            _ => None,
        }
    }
}

pub(crate) fn variant(names: &[Vec<u8>], request: &Fields<'_>) -> u64 {
    if names.is_empty() {
        return 0;
    }
    selecting::variant_hash(names.iter().map(Vec::as_slice), request)
}
