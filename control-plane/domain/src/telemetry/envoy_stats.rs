//! What Envoys say about themselves: their own counters and gauges, beyond what the filter can see.

use crate::Millis;
use crate::telemetry::envoy_state::State;
use crate::telemetry::sum::Filter;
use crate::telemetry::windows::{SLOT_MS, SLOTS};
use std::collections::{BTreeMap, VecDeque};

/// Gauges of an Envoy expire this long after its last report.
const PRESENT_MS: u64 = 15_000;
/// Nodes remembered at most, and for how long after their last report.
pub const MAX_NODES: usize = 20_000;
/// Upstreams of an Envoy told apart at most.
pub const MAX_UPSTREAMS: usize = 256;
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
    /// Responses to clients.
    pub responses: u64,
    /// Those with a status of 500 to 599.
    pub server_errors: u64,
    /// Connections of clients refused: too many, or in overload.
    pub refused_connections: u64,
}

/// One reading of an Envoy's statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Since Envoy started.
    pub counters: Counters,
    /// Now.
    pub gauges: Gauges,
    /// What they say about its state.
    pub state: State,
}

impl Statistics {
    /// Takes in a statistic; those of no interest are passed over.
    pub fn take(&mut self, name: &str, value: u64) {
        // One may be of interest to both others.
        let _ = self.counters.take(name, value) || self.gauges.take(name, value);
        self.state.take(name, value);
    }
}

/// Gauges of one Envoy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Open connections from clients.
    pub downstream_open: u64,
    /// Open connections by upstream.
    pub upstreams: BTreeMap<String, u64>,
    /// Bytes on Envoy's heap.
    pub heap_bytes: u64,
    /// Bytes Envoy holds from the operating system.
    pub memory_bytes: u64,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Workers.
    pub concurrency: u64,
    /// 1 unless it is draining.
    pub live: u64,
}

/// The upstream of an Envoy that uses the largest share of the connections it may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Fullest {
    /// The Envoy's node id.
    pub node: String,
    /// The upstream.
    pub upstream: String,
    /// Open connections as a share of the limit, percent.
    pub percent: f64,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Since when it reports without a pause.
    since_ms: Millis,
    seen_ms: Millis,
    last: Option<Counters>,
    gauges: Gauges,
    state: State,
    slots: VecDeque<(u64, Counters)>,
}

/// The statistics of all Envoys, by node id.
#[derive(Debug, Clone, Default)]
pub struct EnvoyStats {
    nodes: BTreeMap<String, Node>,
}

impl EnvoyStats {
    /// Takes in the present statistics of an Envoy.
    pub fn report(&mut self, node_id: &str, statistics: Statistics, now_ms: Millis) {
        let Statistics {
            counters,
            gauges,
            state,
        } = statistics;
        self.nodes
            .retain(|_, node| node.seen_ms.saturating_add(FORGOTTEN_AFTER_MS) > now_ms);
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(node_id) {
            return;
        }
        let node = self.nodes.entry(node_id.to_owned()).or_default();
        if node.last.is_none() || !node.is_present(now_ms) {
            node.since_ms = now_ms;
        }
        node.seen_ms = now_ms;
        let is_same_process = node.last.is_some() && gauges.uptime_s >= node.gauges.uptime_s;
        node.state = state.after(Some(&node.state).filter(|_| is_same_process));
        node.gauges = gauges;
        // Without an earlier reading there is no telling how much of it is recent.
        if let Some(last) = node.last {
            node.add(counters.since(&last), now_ms);
        }
        node.last = Some(counters);
    }

    /// What all Envoys counted in the last `window_ms`.
    #[must_use]
    pub fn recent(&self, window_ms: Millis, now_ms: Millis) -> Counters {
        self.recent_of(None, window_ms, now_ms)
    }

    /// What all Envoys, or one, counted in the last `window_ms`.
    #[must_use]
    pub fn recent_of(&self, node: Option<&str>, window_ms: Millis, now_ms: Millis) -> Counters {
        let first = now_ms.saturating_sub(window_ms) / SLOT_MS;
        let wanted = |name: &str| node.is_none_or(|node| node == name);
        let nodes = self.nodes.iter().filter(|(name, _)| wanted(name));
        let slots = nodes.flat_map(|(_, node)| &node.slots);
        slots
            .filter(|(number, _)| *number >= first)
            .fold(Counters::default(), |sum, (_, counters)| sum.plus(counters))
    }

    /// Where connections to an upstream come nearest to the limit. The limit holds for each upstream of each Envoy by itself: a sum
    /// over them would hide the one that is full.
    #[must_use]
    pub fn fullest(&self, node: Option<&str>, filter: &Filter, limit: u64, now_ms: Millis) -> Option<Fullest> {
        let wanted = |name: &str| node.is_none_or(|node| node == name);
        let present = self.present(now_ms).filter(|(name, _)| wanted(name));
        let all = present.flat_map(|(name, gauges)| gauges.upstreams.iter().map(move |upstream| (name, upstream)));
        let (name, (upstream, open)) = all
            .filter(|(_, (upstream, _))| limit > 0 && filter.takes_upstream(upstream))
            .max_by_key(|(_, (_, open))| **open)?;
        Some(Fullest {
            node: name.to_owned(),
            upstream: upstream.clone(),
            percent: share(*open, limit),
        })
    }

    /// Present Envoys with their gauges.
    pub fn present(&self, now_ms: Millis) -> impl Iterator<Item = (&str, &Gauges)> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.is_present(now_ms))
            .map(|(name, node)| (name.as_str(), &node.gauges))
    }

    /// Every Envoy that has reported within the last hour.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, NodeStats<'_>)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node.view()))
    }

    /// The same of one.
    #[must_use]
    pub fn node(&self, node_id: &str) -> Option<NodeStats<'_>> {
        self.nodes.get(node_id).map(Node::view)
    }
}

/// When an Envoy's statistics came, and what they say about its state.
#[derive(Debug, Clone, Copy)]
pub struct NodeStats<'s> {
    /// Since when they come without a pause.
    pub since_ms: Millis,
    /// When they came last.
    pub seen_ms: Millis,
    /// What they said then.
    pub state: &'s State,
    /// It was not draining then.
    pub live: bool,
}

impl NodeStats<'_> {
    /// They still come.
    #[must_use]
    pub fn is_present(&self, now_ms: Millis) -> bool {
        self.seen_ms.saturating_add(PRESENT_MS) > now_ms
    }
}

impl Node {
    fn view(&self) -> NodeStats<'_> {
        NodeStats {
            since_ms: self.since_ms,
            seen_ms: self.seen_ms,
            state: &self.state,
            live: self.gauges.live > 0,
        }
    }

    fn is_present(&self, now_ms: Millis) -> bool {
        self.seen_ms.saturating_add(PRESENT_MS) > now_ms
    }

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
            responses: grown(self.responses, last.responses),
            server_errors: grown(self.server_errors, last.server_errors),
            refused_connections: grown(self.refused_connections, last.refused_connections),
        }
    }

    fn plus(&self, more: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(more.requests),
            http2_requests: self.http2_requests.saturating_add(more.http2_requests),
            upstream_requests: self.upstream_requests.saturating_add(more.upstream_requests),
            upstream_connections: self.upstream_connections.saturating_add(more.upstream_connections),
            vm_reloads: self.vm_reloads.saturating_add(more.vm_reloads),
            responses: self.responses.saturating_add(more.responses),
            server_errors: self.server_errors.saturating_add(more.server_errors),
            refused_connections: self.refused_connections.saturating_add(more.refused_connections),
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
                "downstream_rq_completed" => &mut self.responses,
                "downstream_rq_5xx" => &mut self.server_errors,
                _ => return false,
            }
        } else if let Some((_, name)) = upstream(name) {
            match name {
                "upstream_rq_total" => &mut self.upstream_requests,
                "upstream_cx_total" => &mut self.upstream_connections,
                _ => return false,
            }
        } else if let Some(name) = listener(name) {
            match name {
                "downstream_cx_overflow" | "downstream_global_cx_overflow" | "downstream_cx_overload_reject" => {
                    &mut self.refused_connections
                }
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
    /// Open connections to the upstreams that are asked for.
    #[must_use]
    pub fn upstream_open(&self, filter: &Filter) -> u64 {
        let wanted = self.upstreams.iter().filter(|(name, _)| filter.takes_upstream(name));
        wanted.fold(0, |sum, (_, open)| sum.saturating_add(*open))
    }

    /// Adds to the gauge an Envoy statistic belongs to; false for one of no interest.
    pub fn take(&mut self, name: &str, value: u64) -> bool {
        let gauge = match (ingress(name), upstream(name), name) {
            (Some("downstream_cx_active"), _, _) => &mut self.downstream_open,
            (_, Some((cluster, "upstream_cx_active")), _) => {
                if self.upstreams.len() >= MAX_UPSTREAMS && !self.upstreams.contains_key(cluster) {
                    return false;
                }
                self.upstreams.entry(cluster.to_owned()).or_default()
            }
            (_, _, "server.memory_allocated") => &mut self.heap_bytes,
            (_, _, "server.memory_physical_size") => &mut self.memory_bytes,
            (_, _, "server.uptime") => &mut self.uptime_s,
            (_, _, "server.concurrency") => &mut self.concurrency,
            (_, _, "server.live") => &mut self.live,
            _ => return false,
        };
        *gauge = gauge.saturating_add(value);
        true
    }
}

/// Envoy's own listeners: its admin interface, and the one by which it is observed.
const NOT_FOR_CLIENTS: [&str; 3] = ["admin", "async-client", "observe"];
/// Clusters that are no upstreams of clients.
const NOT_UPSTREAMS: [&str; 3] = ["control_plane", "admin", "otel_collector"];

/// `http.<prefix>.<name>` of a listener for clients.
fn ingress(name: &str) -> Option<&str> {
    let (prefix, name) = name.strip_prefix("http.")?.rsplit_once('.')?;
    (!NOT_FOR_CLIENTS.contains(&prefix)).then_some(name)
}

/// `listener.<address>.<name>` of a listener that is not the admin interface; addresses hold dots.
fn listener(name: &str) -> Option<&str> {
    let (address, name) = name.strip_prefix("listener.")?.rsplit_once('.')?;
    (address != "admin").then_some(name)
}

/// `cluster.<name>.<name>` of an upstream; the names of clusters may hold dots.
fn upstream(name: &str) -> Option<(&str, &str)> {
    let (cluster, name) = name.strip_prefix("cluster.")?.rsplit_once('.')?;
    (!NOT_UPSTREAMS.contains(&cluster)).then_some((cluster, name))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

mod join;

#[cfg(test)]
mod tests;
