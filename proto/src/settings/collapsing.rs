//! One fetch for many requests.

use serde_json::{Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader};

const MINUTE_MS: u64 = 60_000;

/// Request collapsing (RFC 9111 section 4): requests for a key that is being fetched wait for that fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestCollapsing {
    /// False: every request that the cache cannot answer goes to the origin.
    pub enabled: bool,
    /// How long a fetch may be silent until one of the requests that wait for it is sent beside it, ms, 100 ms..=1 min.
    pub timeout_ms: u64,
}

impl Default for RequestCollapsing {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout_ms: 5_000,
        }
    }
}

impl RequestCollapsing {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let collapsing = Self {
            enabled: object.boolean("enabled", base.enabled),
            timeout_ms: object.duration("timeout", base.timeout_ms, 100..=MINUTE_MS),
        };
        object.finish();
        collapsing
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "enabled": self.enabled,
            "timeout": format_duration(self.timeout_ms),
        })
    }
}
