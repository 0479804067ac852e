//! HTTP caching as pure functions (RFC 9111 and companions): values and a clock reading in, decisions with a reason out.
//!
//! The order of calls is told in the modules: [`key`], [`stored_response`] and [`reuse`] for a lookup, [`reply`] for a hit,
//! [`validation`] for a request that goes on, [`storability`] for what comes back, [`invalidation`] after unsafe methods.

pub mod age;
pub mod codings;
pub mod content;
pub mod early;
pub mod encoder;
mod forwarded;
pub mod freshness;
pub mod groups;
pub mod hop_by_hop;
pub mod invalidation;
pub mod key;
pub mod key_secret;
#[cfg(test)]
mod key_tests;
mod key_text;
pub mod language;
pub mod lenient;
pub mod not_stored;
pub mod partial;
pub mod policy;
pub mod precondition;
pub mod range;
pub mod refusal;
pub mod reply;
pub mod request_directives;
pub mod reuse;
pub mod search;
pub mod selecting;
pub mod sharing;
pub mod shift;
pub mod status_field;
pub mod storability;
pub mod stored_response;
#[cfg(test)]
mod tests;
pub mod validation;

pub use content::{ContentKey, ContentPolicy};
pub use encoder::Encoder;
pub use key::{CacheKey, Routing};
pub use key_secret::KeySecret;
pub use not_stored::NotStored;
pub use policy::{FreshnessPolicy, KeyPolicy, QueryPolicy};
pub use reuse::{Reuse, ReuseReason};
pub use search::Variance;
pub use sharing::{ClientState, SharingPolicy, Withheld};
pub use shift::shift_times;
pub use status_field::{CacheStatus, Forward};
pub use storability::{Exchange, Framing, Plan};
pub use stored_response::{Corrupt, StoredView};
