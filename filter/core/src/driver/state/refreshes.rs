//! Requests of our own that wait or are under way in one VM.

use crate::Millis;
use crate::breaker::Permit;
use crate::cache::CacheKey;
use crate::driver::exchange::client_limits;
use crate::driver::exchange::flights::FlightPermit;
use crate::policy::RoutePolicy;
use crate::store::PurgeGeneration;
use bytes::Bytes;
use optimizer_proto::v1::Fence;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// How long a request of our own may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

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
pub(crate) fn goes_along(name: &[u8]) -> bool {
    !LEFT_OUT.contains(&name) && !client_limits::is_limit(name)
}

/// A stored response to refresh.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) cluster: String,
    /// Cluster and route, see [`super::forwarding`].
    pub(crate) pair: Vec<u8>,
    /// The client's header map.
    pub(crate) request: Vec<u8>,
    pub(crate) key: CacheKey,
    pub(crate) stored: Bytes,
    pub(crate) id: crate::store::EntryId,
    pub(crate) route: Rc<RoutePolicy>,
    pub(crate) purge_generation: PurgeGeneration,
    /// The upstream marks the end of every response.
    pub(crate) marked: bool,
    /// See [`crate::cache::storability::Exchange::hidden_credentials`].
    pub(crate) hidden_credentials: bool,
    pub(crate) fence: Option<Fence>,
    pub(crate) sent_ms: Millis,
    pub(crate) permits: Vec<Permit>,
    /// It holds a place within the upstream's concurrency limit.
    pub(crate) placed: bool,
    pub(crate) flight: Option<FlightPermit>,
}

/// The background work of one VM.
#[derive(Debug, Default)]
pub struct Background {
    pub(crate) waiting: VecDeque<Refresh>,
    pub(crate) calls: HashMap<u32, Refresh>,
}
