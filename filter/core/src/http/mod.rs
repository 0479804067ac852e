//! HTTP words and fields as bytes: what RFC 9110 and its companions define apart from caching.
//!
//! Nothing here allocates per field line, panics, or assumes UTF-8.

pub mod cache_control;
pub mod date;
pub mod entity_tag;
pub mod fields;
pub mod grpc;
pub mod list;
pub mod method;
pub mod percent;
pub mod structured;
pub mod target;
