//! One fetch for many requests.

use super::rows::{Topic, settings};
use super::scalars::{Flag, duration};

const MINUTE_MS: u64 = 60_000;

settings! {
    /// Request collapsing (RFC 9111 section 4): requests for a key that is being fetched wait for that fetch.
    RequestCollapsing {
        /// False: every request that the cache cannot answer goes to the origin.
        "enabled" => enabled: bool = true, Flag, example false;
        /// How long a fetch may be silent until one of the requests that wait for it is sent beside it.
        "timeout" => timeout_ms: u64 = 5_000, duration(100..=MINUTE_MS), example "2s";
    }
}

impl Topic for RequestCollapsing {}
