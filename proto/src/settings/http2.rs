//! The connection pools of Envoys whose clusters the control plane generates.

use serde_json::{Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader};

const HOUR_MS: u64 = 3_600_000;

/// Pools towards the upstreams, for Envoys that take their clusters from the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Most connections to one host of an upstream, 1..=10,000.
    pub max_connections_per_host: u32,
    /// After which time without a request a connection is closed, ms, 1 s..=1 h.
    pub idle_timeout_ms: u64,
    /// True: HTTP/2 PING and TCP keep-alive find dead connections.
    pub keep_alive: bool,
    /// True: small writes are sent at once (`TCP_NODELAY`).
    pub tcp_no_delay: bool,
    /// True: Envoy compresses responses for clients; the cache stores them as they came.
    pub compression: bool,
    /// Most requests at a time on one HTTP/2 connection, 1..=1,000,000.
    pub max_concurrent_streams: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_connections_per_host: 100,
            idle_timeout_ms: HOUR_MS,
            keep_alive: true,
            tcp_no_delay: true,
            compression: false,
            max_concurrent_streams: 100,
        }
    }
}

impl Http2 {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let http2 = Self {
            max_connections_per_host: object.integer(
                "max_connections_per_host",
                base.max_connections_per_host,
                1..=10_000,
            ),
            idle_timeout_ms: object.duration("idle_timeout", base.idle_timeout_ms, 1_000..=HOUR_MS),
            keep_alive: object.boolean("keep_alive", base.keep_alive),
            tcp_no_delay: object.boolean("tcp_no_delay", base.tcp_no_delay),
            compression: object.boolean("compression", base.compression),
            max_concurrent_streams: object.integer(
                "max_concurrent_streams",
                base.max_concurrent_streams,
                1..=1_000_000,
            ),
        };
        object.finish();
        http2
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "max_connections_per_host": self.max_connections_per_host,
            "idle_timeout": format_duration(self.idle_timeout_ms),
            "keep_alive": self.keep_alive,
            "tcp_no_delay": self.tcp_no_delay,
            "compression": self.compression,
            "max_concurrent_streams": self.max_concurrent_streams,
        })
    }
}
