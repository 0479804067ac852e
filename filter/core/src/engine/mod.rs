//! One request as pure decisions: values and a clock reading in, what to do out.

mod cache_request;
mod lookup;

pub use cache_request::CacheRequest;
pub use lookup::{Decision, Missing, decide};
