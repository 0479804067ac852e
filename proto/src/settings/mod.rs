//! The settings document: read, checked with every violation at once, and written in one canonical form.
//!
//! Each topic has a file, and each setting a row in it (`rows.rs`). What comes from [`Settings::parse`] is within its ranges, and no two
//! values contradict each other. Times are milliseconds in fields named `_ms`, sizes are bytes; in the document times are durations under the
//! name without `_ms`.

mod alerts;
mod breaker;
mod caching;
mod certificate;
mod collapsing;
mod concurrency;
mod document;
mod duration;
mod forms;
mod freshness;
mod health_check;
mod http2;
mod key_body;
mod kinds;
mod names;
mod nearest;
mod network;
mod number;
mod parse;
mod profiles;
mod reader;
mod reference;
mod routes;
mod rows;
#[cfg(test)]
mod rows_tests;
mod rules;
mod scalars;
mod schema;
mod shared_tier;
mod sharing;
mod size;
mod state_rules;
mod upstreams;
mod verify_sharing;
mod violation;

pub use alerts::{Alerts, Threshold};
pub use breaker::{Breaker, FailureClass};
pub use caching::{CACHE_SIZE_CLASSES, EvictionPolicy};
pub use collapsing::RequestCollapsing;
pub use concurrency::Concurrency;
pub use document::Settings;
pub use duration::{DURATION_CLASSES, format_duration, parse_duration};
pub use freshness::{Freshness, MAX_TTL_MS};
pub use health_check::{ActiveHealthCheck, HealthCheckMethod, StatusRange};
pub use http2::Http2;
pub use key_body::{BodyMethod, BodyReads, KeyBody};
pub use names::{Address, is_host};
pub use network::Network;
pub use parse::{check_key, key_pointer};
pub use profiles::{PROFILES, profile};
pub use reference::reference;
pub use routes::{KeyQuery, MAX_ROUTES, QueryMode, Route};
pub use schema::{api_schemas, schema};
pub use shared_tier::SharedTier;
pub use sharing::SetCookie;
pub use size::format_size;
pub use state_rules::{StateRule, StateRules, state_rules};
pub use upstreams::{Endpoint, MAX_UPSTREAMS, Upstream};
pub use verify_sharing::{MAX_DEPENDS_ON, MAX_QUARANTINED, Mask, Quarantined, VerifySharing};
pub use violation::{Notice, Violation, ViolationCode};

/// Most violations listed for one document; a hostile one could have millions.
pub const MAX_VIOLATIONS: usize = 256;

/// Most names in a list of request fields that carry credentials.
const MAX_CREDENTIAL_HEADERS: usize = 32;

/// What `max_object_size` can be, bytes: 1 KiB to 16 MiB.
const OBJECT_SIZE: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;

/// Names of request fields that carry credentials.
fn credential_headers() -> kinds::Set<scalars::Text> {
    kinds::Set {
        item: names::FIELD_NAME,
        max: MAX_CREDENTIAL_HEADERS,
        sorted: false,
    }
}
