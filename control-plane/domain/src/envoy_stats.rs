//! What Envoys say about themselves: their own counters and gauges, beyond what the filter can see.

use crate::Millis;
use crate::windows::{SLOT_MS, SLOTS};
use std::collections::{BTreeMap, VecDeque};

/// An Envoy that has not reported for so long has no gauges any more.
const PRESENT_MS: u64 = 15_000;
/// Nodes remembered at most, and for how long without a word.
const MAX_NODES: usize = 20_000;
const FORGOTTEN_AFTER_MS: u64 = 3_600_000;

/// Counters of one Envoy since it started, or their growth over a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests of clients.
    pub requests: u64,
    /// Those on HTTP/2 or later.
    pub http2_requests: u64,
    /// Requests to upstreams.
    pub upstream_requests: u64,
    /// Connections made to upstreams.
    pub upstream_connections: u64,
    /// Filter VMs started anew after a trap.
    pub vm_reloads: u64,
}

/// Gauges of one Envoy, or of several added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open connections from clients.
    pub downstream_open: u64,
    /// Open connections to upstreams.
    pub upstream_open: u64,
    /// Bytes on Envoy's heap.
    pub heap_bytes: u64,
    /// Bytes Envoy holds from the operating system.
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Node {
    seen_ms: Millis,
    last: Option<Counters>,
    gauges: Gauges,
    slots: VecDeque<(u64, Counters)>,
}

/// The statistics of all Envoys, by node id.
#[derive(Debug, Clone, Default)]
pub struct EnvoyStats {
    nodes: BTreeMap<String, Node>,
}

impl EnvoyStats {
    /// Takes in the present counters and gauges of an Envoy.
    pub fn report(&mut self, node_id: &str, counters: Counters, gauges: Gauges, now_ms: Millis) {
        self.nodes
            .retain(|_, node| node.seen_ms.saturating_add(FORGOTTEN_AFTER_MS) > now_ms);
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(node_id) {
            return;
        }
        let node = self.nodes.entry(node_id.to_owned()).or_default();
        node.seen_ms = now_ms;
        node.gauges = gauges;
        // Without an earlier reading there is no telling how much of it is recent.
        if let Some(last) = node.last {
            node.add(counters.since(&last), now_ms);
        }
        node.last = Some(counters);
    }

    /// What all Envoys, or one, counted in the last `window_ms`.
    #[must_use]
    pub fn recent(&self, window_ms: Millis, now_ms: Millis) -> Counters {
        let first = now_ms.saturating_sub(window_ms) / SLOT_MS;
        let slots = self.nodes.values().flat_map(|node| &node.slots);
        slots
            .filter(|(number, _)| *number >= first)
            .fold(Counters::default(), |sum, (_, counters)| sum.plus(counters))
    }

    /// The gauges of all present Envoys added up.
    #[must_use]
    pub fn gauges(&self, now_ms: Millis) -> Gauges {
        self.present(now_ms).fold(Gauges::default(), |sum, (_, gauges)| Gauges {
            downstream_open: sum.downstream_open.saturating_add(gauges.downstream_open),
            upstream_open: sum.upstream_open.saturating_add(gauges.upstream_open),
            heap_bytes: sum.heap_bytes.saturating_add(gauges.heap_bytes),
            memory_bytes: sum.memory_bytes.saturating_add(gauges.memory_bytes),
        })
    }

    /// Present Envoys with their gauges.
    pub fn present(&self, now_ms: Millis) -> impl Iterator<Item = (&str, &Gauges)> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.seen_ms.saturating_add(PRESENT_MS) > now_ms)
            .map(|(name, node)| (name.as_str(), &node.gauges))
    }
}

impl Node {
    fn add(&mut self, growth: Counters, now_ms: Millis) {
        let number = now_ms / SLOT_MS;
        match self.slots.back_mut() {
            // A clock that went back goes on counting in the newest slot.
            Some((newest, sum)) if *newest >= number => *sum = sum.plus(&growth),
            _ => self.slots.push_back((number, growth)),
        }
        while self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
    }
}

impl Counters {
    /// The growth since an earlier reading; a counter that went back was started anew with its process.
    fn since(&self, last: &Self) -> Self {
        let grown = |now: u64, then: u64| if now >= then { now - then } else { now };
        Self {
            requests: grown(self.requests, last.requests),
            http2_requests: grown(self.http2_requests, last.http2_requests),
            upstream_requests: grown(self.upstream_requests, last.upstream_requests),
            upstream_connections: grown(self.upstream_connections, last.upstream_connections),
            vm_reloads: grown(self.vm_reloads, last.vm_reloads),
        }
    }

    fn plus(&self, more: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(more.requests),
            http2_requests: self.http2_requests.saturating_add(more.http2_requests),
            upstream_requests: self.upstream_requests.saturating_add(more.upstream_requests),
            upstream_connections: self.upstream_connections.saturating_add(more.upstream_connections),
            vm_reloads: self.vm_reloads.saturating_add(more.vm_reloads),
        }
    }

    /// Share of client requests on HTTP/2 or later, percent; 0 without requests.
    #[must_use]
    pub fn http2_adoption(&self) -> f64 {
        share(self.http2_requests, self.requests)
    }

    /// Share of upstream requests that needed no new connection, percent; 0 without requests.
    #[must_use]
    pub fn connection_reuse(&self) -> f64 {
        share(
            self.upstream_requests.saturating_sub(self.upstream_connections),
            self.upstream_requests,
        )
    }

    /// Sets the counter an Envoy statistic belongs to; false for one of no interest.
    pub fn take(&mut self, name: &str, value: u64) -> bool {
        let counter = if let Some(name) = ingress(name) {
            match name {
                "downstream_rq_http1_total" => &mut self.requests,
                "downstream_rq_http2_total" | "downstream_rq_http3_total" => {
                    self.requests = self.requests.saturating_add(value);
                    &mut self.http2_requests
                }
                _ => return false,
            }
        } else if let Some(name) = upstream(name) {
            match name {
                "upstream_rq_total" => &mut self.upstream_requests,
                "upstream_cx_total" => &mut self.upstream_connections,
                _ => return false,
            }
        } else if name.contains("wasm") && name.ends_with("vm_reload_success") {
            &mut self.vm_reloads
        } else {
            return false;
        };
        *counter = counter.saturating_add(value);
        true
    }
}

impl Gauges {
    /// Adds to the gauge an Envoy statistic belongs to; false for one of no interest.
    pub fn take(&mut self, name: &str, value: u64) -> bool {
        let gauge = match (ingress(name), upstream(name), name) {
            (Some("downstream_cx_active"), _, _) => &mut self.downstream_open,
            (_, Some("upstream_cx_active"), _) => &mut self.upstream_open,
            (_, _, "server.memory_allocated") => &mut self.heap_bytes,
            (_, _, "server.memory_physical_size") => &mut self.memory_bytes,
            _ => return false,
        };
        *gauge = gauge.saturating_add(value);
        true
    }
}

/// `http.<prefix>.<name>` of a listener for clients, not of Envoy's own admin interface.
fn ingress(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("http.")?;
    let (prefix, name) = rest.rsplit_once('.')?;
    (prefix != "admin" && prefix != "async-client").then_some(name)
}

/// `cluster.<name>.<name>` of an upstream, not of the control plane itself.
fn upstream(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("cluster.")?;
    let (cluster, name) = rest.rsplit_once('.')?;
    (cluster != "control_plane" && !cluster.contains('.')).then_some(name)
}

#[allow(clippy::cast_precision_loss)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(requests: u64, http2: u64, upstream: u64, connections: u64) -> Counters {
        Counters {
            requests,
            http2_requests: http2,
            upstream_requests: upstream,
            upstream_connections: connections,
            vm_reloads: 0,
        }
    }

    #[test]
    fn growth_counts_and_a_restart_does_not_count_backwards() {
        let mut stats = EnvoyStats::default();
        stats.report("a", counted(1_000, 0, 500, 5), Gauges::default(), 10_000);
        assert_eq!(
            stats.recent(60_000, 10_000),
            Counters::default(),
            "what came before is unknown"
        );
        stats.report("a", counted(1_100, 40, 600, 10), Gauges::default(), 11_000);
        let recent = stats.recent(60_000, 11_000);
        assert_eq!((recent.requests, recent.http2_requests), (100, 40));
        assert!((recent.http2_adoption() - 40.0).abs() < 1e-9 && (recent.connection_reuse() - 95.0).abs() < 1e-9);
        stats.report("a", counted(10, 0, 0, 0), Gauges::default(), 12_000);
        assert_eq!(stats.recent(60_000, 12_000).requests, 110);
        assert_eq!(stats.recent(60_000, 200_000).requests, 0);
    }

    #[test]
    fn gauges_of_an_envoy_that_vanished_are_gone() {
        let mut stats = EnvoyStats::default();
        let open = Gauges {
            upstream_open: 3,
            ..Gauges::default()
        };
        stats.report("a", Counters::default(), open, 0);
        stats.report("b", Counters::default(), open, 10_000);
        assert_eq!(stats.gauges(10_000).upstream_open, 6);
        assert_eq!(stats.gauges(15_000).upstream_open, 3);
    }

    #[test]
    fn only_statistics_of_clients_and_upstreams_count() {
        let (mut counters, mut gauges) = (Counters::default(), Gauges::default());
        for (name, taken) in [
            ("http.ingress.downstream_rq_http2_total", true),
            ("http.admin.downstream_rq_http1_total", false),
            ("cluster.origin.upstream_cx_total", true),
            ("cluster.control_plane.upstream_cx_total", false),
            ("cluster.origin.external.upstream_rq_2xx", false),
            ("cluster.origin.upstream_rq_total", true),
        ] {
            assert_eq!(counters.take(name, 2), taken, "{name}");
        }
        assert_eq!(
            (counters.requests, counters.http2_requests, counters.upstream_requests),
            (2, 2, 2)
        );
        assert!(gauges.take("server.memory_allocated", 7) && !gauges.take("server.live", 1));
    }
}
