//! Requests of our own that wait or are under way in one VM.

use super::client_limits;
use super::flights::FlightPermit;
use crate::Millis;
use crate::breaker::Permit;
use crate::cache::CacheKey;
use crate::policy::RoutePolicy;
use crate::store::PurgeGeneration;
use bytes::Bytes;
use optimizer_proto::v1::Fence;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// How long a request of our own may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Fields of the client's request that a background request must not carry: conditions and ranges are ours to set, the rest
/// would wait for content or change the connection. Its own time limits are left out besides.
const LEFT_OUT: [&[u8]; 12] = [
    b"if-none-match",
    b"if-modified-since",
    b"if-match",
    b"if-unmodified-since",
    b"if-range",
    b"range",
    b"expect",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"upgrade",
    b"te",
];

/// Whether a field of the client's request goes along with a request of our own.
pub(super) fn goes_along(name: &[u8]) -> bool {
    !LEFT_OUT.contains(&name) && !client_limits::is_limit(name)
}

/// A stored response to refresh.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) cluster: String,
    /// Cluster and route, see [`super::forwarding`].
    pub(super) pair: Vec<u8>,
    /// The client's header map.
    pub(super) request: Vec<u8>,
    pub(super) key: CacheKey,
    pub(super) stored: Bytes,
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
