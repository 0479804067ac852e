//! Requests of our own that wait or are under way in one VM.

use super::flights::FlightPermit;
use crate::Millis;
use crate::breaker::Permit;
use crate::cache::CacheKey;
use crate::policy::RoutePolicy;
use crate::store::PurgeGeneration;
use optimizer_proto::v1::Fence;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// A stored response to refresh.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) cluster: String,
    /// Cluster and route, see [`super::forwarding`].
    pub(super) pair: Vec<u8>,
    /// The client's header map.
    pub(super) request: Vec<u8>,
    pub(super) key: CacheKey,
    pub(super) stored: Vec<u8>,
    pub(super) id: crate::store::EntryId,
    pub(super) route: Rc<RoutePolicy>,
    pub(super) purge_generation: PurgeGeneration,
    /// The upstream marks the end of every response.
    pub(super) marked: bool,
    /// See [`crate::cache::storability::Exchange::hidden_credentials`].
    pub(super) hidden_credentials: bool,
    pub(super) fence: Option<Fence>,
    pub(super) sent_ms: Millis,
    pub(super) permits: Vec<Permit>,
    /// It holds a place within the upstream's concurrency limit.
    pub(super) placed: bool,
    pub(super) flight: Option<FlightPermit>,
}

/// The background work of one VM.
#[derive(Debug, Default)]
pub struct Background {
    pub(super) waiting: VecDeque<Refresh>,
    pub(super) calls: HashMap<u32, Refresh>,
}
