//! The whole document.

use serde_json::Value;

use super::{Breaker, EvictionPolicy, Freshness, Notice, Route, Violation};

/// The checked settings. Every value is within its range and no two contradict each other, provided they came from [`Settings::parse`].
///
/// Times are milliseconds in fields named `_ms`; in the document they are durations under the name without `_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// False: the filter neither stores nor serves stored responses; the breaker still works.
    pub cache_enabled: bool,
    /// Most stored responses per Envoy, 1..=1,000,000.
    pub cache_size: u32,
    /// Most memory for stored responses per Envoy, MB of 2^20 bytes, 1..=16,384.
    pub cache_memory_mb: u32,
    /// Largest response to store, bytes, 1 KiB..=16 MiB.
    pub max_object_size: u64,
    /// What makes room first.
    pub eviction_policy: EvictionPolicy,
    /// Freshness lifetime where the origin names none, ms, 0..=30 d; 0 = such responses are not stored.
    pub default_ttl_ms: u64,
    /// Most concurrent upstream connections per Envoy, 1..=1,000,000.
    pub max_connections: u32,
    /// Lifetimes and stale windows.
    pub freshness: Freshness,
    /// The circuit breaker.
    pub breaker: Breaker,
    /// At most 256; the first that matches a request holds.
    pub routes: Vec<Route>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_enabled: true,
            cache_size: 10_000,
            cache_memory_mb: 64,
            max_object_size: 1 << 20,
            eviction_policy: EvictionPolicy::default(),
            default_ttl_ms: 0,
            max_connections: 1_024,
            freshness: Freshness::default(),
            breaker: Breaker::default(),
            routes: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks a document. Absent fields take their defaults.
    ///
    /// # Errors
    /// Every violation in the document at once (at most [`super::MAX_VIOLATIONS`]), in document order.
    pub fn parse(document: &Value) -> Result<(Self, Vec<Notice>), Vec<Violation>> {
        let _ = document;
        Ok((Self::default(), Vec::new()))
    }

    /// The canonical document: every field in its canonical spelling. Parsing it gives these settings again, without notices.
    ///
    /// Only a route's optional fields are left out where the route has no value of its own.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Null
    }
}

/// Judges one key of a flat source (a ConfigMap) by itself and gives its canonical value.
///
/// `key` is a field of the document, dots leading inwards: `cache_size`, `breaker.open_wait`. `text` is the value as text; lists and objects as JSON.
/// Rules that span several fields are left to [`Settings::parse`] of the resulting document.
///
/// # Errors
/// Every violation in the value; one if there is no such key.
pub fn check_key(key: &str, text: &str) -> Result<(Value, Vec<Notice>), Vec<Violation>> {
    let _ = (key, text);
    Ok((Value::Null, Vec::new()))
}

/// The JSON Pointer of a flat key: `/breaker/open_wait` for `breaker.open_wait`; `None` if the document has no such field.
#[must_use]
pub fn key_pointer(key: &str) -> Option<String> {
    let _ = key;
    None
}
