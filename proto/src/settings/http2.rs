//! The connection pools of Envoys whose clusters the control plane generates.

use super::duration::HOUR_MS;
use super::rows::{Topic, settings};
use super::scalars::{Flag, count, duration};

settings! {
    /// Pools towards the upstreams, for Envoys that take their clusters from the control plane.
    Http2 {
        /// Most connections to one host of an upstream.
        "max_connections_per_host" => max_connections_per_host: u32 = 100, count(1..=10_000, "connections"), example 30;
        /// After which time without a request a connection is closed.
        "idle_timeout" => idle_timeout_ms: u64 = HOUR_MS, duration(1_000..=HOUR_MS), example "1m";
        /// True: HTTP/2 PING and TCP keep-alive find dead connections.
        "keep_alive" => keep_alive: bool = true, Flag, example false;
        /// True: small writes are sent at once (TCP_NODELAY).
        "tcp_no_delay" => tcp_no_delay: bool = true, Flag, example false;
        /// True: Envoy compresses responses for clients; the cache stores them as they came.
        "compression" => compression: bool = false, Flag, example true;
        /// Most requests at a time on one HTTP/2 connection.
        "max_concurrent_streams" => max_concurrent_streams: u32 = 100, count(1..=1_000_000, "requests"), example 200;
    }
}

impl Topic for Http2 {}
