//! `GET /metrics/system`: memory, processor, disk and connections, of the control plane's machine and of the Envoys.

use super::{megabytes, number};
use crate::Millis;
use crate::envoy_stats::{EnvoyStats, Gauges};
use crate::fleet::Fleet;
use crate::sum::Filter;
use serde_json::{Value, json};

/// The control plane's own machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct System {
    /// Memory in use, percent of the machine or of the cgroup's limit.
    pub memory_percent: Option<f64>,
    /// Processor in use, percent of the machine or of the cgroup's quota.
    pub cpu_percent: Option<f64>,
    /// Disk in use where the state is kept, percent.
    pub disk_percent: Option<f64>,
    /// Resident memory of the process.
    pub resident_bytes: u64,
    /// The cgroup's limit on memory; `None` where there is none and the machine's memory is the limit.
    pub memory_limit_bytes: Option<u64>,
    /// Cores the cgroup may use; `None` where there is no limit.
    pub cpu_limit_cores: Option<f64>,
}

/// Everything in one document.
#[must_use]
pub fn system(
    system: &System,
    fleet: &Fleet,
    stats: &EnvoyStats,
    filter: &Filter,
    max_connections: u64,
    now_ms: Millis,
) -> Value {
    let share = |value: Option<f64>| number(value.unwrap_or(0.0));
    let node = fleet.node_of(filter);
    let wanted = |name: &str| node.is_none_or(|node| node == name);
    let envoys: Vec<Value> = stats
        .present(now_ms)
        .filter(|(name, _)| wanted(name))
        .map(|(name, gauges)| envoy(name, gauges, filter))
        .collect();
    let (open, clients) =
        stats
            .present(now_ms)
            .filter(|(name, _)| wanted(name))
            .fold((0_u64, 0_u64), |(open, clients), (_, gauges)| {
                (
                    open.saturating_add(gauges.upstream_open(filter)),
                    clients.saturating_add(gauges.downstream_open),
                )
            });
    let fullest = stats.fullest(node, filter, max_connections, now_ms);
    json!({
        "memory_usage": share(system.memory_percent),
        "cpu_usage": share(system.cpu_percent),
        "cpu_usage_percent": share(system.cpu_percent),
        "disk_usage": share(system.disk_percent),
        "memory_usage_mb": megabytes(system.resident_bytes),
        "limits": {
            "memory": system.memory_limit_bytes.map_or("machine", |_| "cgroup"),
            "memory_mb": megabytes(system.memory_limit_bytes.unwrap_or(0)),
            "cpu": system.cpu_limit_cores.map_or("machine", |_| "cgroup"),
            "cpu_cores": share(system.cpu_limit_cores),
        },
        "open_connections": open,
        "client_connections": clients,
        "max_connections": max_connections,
        "open_connections_percent": share(fullest.as_ref().map(|fullest| fullest.percent)),
        "fullest_upstream": fullest.map_or_else(String::new, |fullest| fullest.upstream),
        "envoys": envoys,
        "filter": super::shown(filter),
        // Machines and connections are no matter of routes.
        "not_filtered": if filter.route.is_some() { json!(["route"]) } else { json!([]) },
        "window": "now",
        "as_of": now_ms,
    })
}

fn envoy(name: &str, gauges: &Gauges, filter: &Filter) -> Value {
    json!({
        "node_id": name,
        "memory_usage_mb": megabytes(gauges.memory_bytes),
        "heap_mb": megabytes(gauges.heap_bytes),
        "uptime_seconds": gauges.uptime_s,
        "workers": gauges.concurrency,
        "live": gauges.live,
        "client_connections": gauges.downstream_open,
        "upstream_connections": gauges.upstream_open(filter),
        "upstreams": gauges.upstreams,
    })
}
