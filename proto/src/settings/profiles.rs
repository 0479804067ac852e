//! Named sets of settings, as the runbook's tuning guide has them.

use serde_json::{Value, json};

/// Names of all profiles: three for the cache, three for the connection pools.
pub const PROFILES: [&str; 6] = [
    "high_traffic_low_latency",
    "medium_traffic_balanced",
    "low_traffic_high_throughput",
    "high_concurrency",
    "low_latency",
    "bandwidth_optimized",
];

/// What a profile sets, as a JSON Merge Patch (RFC 7396) of the document; `None` if there is no such profile.
///
/// What a profile of the pools does not name goes back to its default, so that two profiles applied after one another are the second.
#[must_use]
pub fn profile(name: &str) -> Option<Value> {
    let cache = |size: &str, ttl: &str, policy: &str| json!({ "cache_size": size, "default_ttl": ttl, "eviction_policy": policy });
    let pools = |connections: u32, streams: u32, idle: &str, compression: bool| {
        json!({ "http2": {
            "max_connections_per_host": connections,
            "idle_timeout": idle,
            "keep_alive": true,
            "tcp_no_delay": true,
            "compression": compression,
            "max_concurrent_streams": streams,
        }})
    };
    match name {
        "high_traffic_low_latency" => Some(cache("large", "short", "lru")),
        "medium_traffic_balanced" => Some(cache("medium", "medium", "lfu")),
        "low_traffic_high_throughput" => Some(cache("small", "long", "fifo")),
        "high_concurrency" => Some(pools(30, 200, "60s", false)),
        "low_latency" => Some(pools(10, 50, "30s", false)),
        "bandwidth_optimized" => Some(pools(5, 100, "120s", true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn every_profile_is_a_sound_document() {
        for name in PROFILES {
            let patch = profile(name).unwrap();
            assert!(Settings::parse(&patch).is_ok(), "{name}: {:?}", Settings::parse(&patch));
        }
        assert_eq!(profile("fastest"), None);
    }
}
