//! The settings document: read, checked with every violation at once, and written in one canonical form.

mod breaker;
mod caching;
mod document;
mod freshness;
mod reader;
mod routes;
mod violation;

pub use breaker::{Breaker, FailureClass};
pub use caching::EvictionPolicy;
pub use document::{Settings, check_key, key_pointer};
pub use freshness::{Freshness, MAX_TTL_MS};
pub use routes::{KeyQuery, MAX_ROUTES, QueryMode, Route};
pub use violation::{Notice, Violation, ViolationCode};

/// Most violations listed for one document; a hostile one could have millions.
pub const MAX_VIOLATIONS: usize = 256;
