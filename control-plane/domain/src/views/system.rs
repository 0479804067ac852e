//! `GET /metrics/system`: memory, processor, disk and connections, of the control plane's machine and of the Envoys.

use super::{Part, megabytes};
use crate::Millis;
use crate::fleet::Fleet;
use crate::telemetry::envoy_stats::{EnvoyStats, Gauges};
use crate::telemetry::figure::{Figure, number};
use crate::telemetry::sum::Filter;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

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

/// Memory, processor, disk and connections.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Machine {
    /// Memory in use, percent of the machine or of the cgroup's limit.
    pub memory_usage: Figure,
    /// Processor in use, percent of the machine or of the cgroup's quota.
    pub cpu_usage: Figure,
    /// Use of the processors, percent.
    pub cpu_usage_percent: Figure,
    /// Disk in use where the state is kept, percent.
    pub disk_usage: Figure,
    /// Resident memory of the process, megabytes.
    pub memory_usage_mb: Figure,
    /// What percentages are of.
    pub limits: Limits,
    /// Connections of all Envoys to upstreams.
    pub open_connections: u64,
    /// Connections of clients to all Envoys.
    pub client_connections: u64,
    /// The setting `max_connections`.
    pub max_connections: u64,
    /// Connections of the upstream nearest to its limit, percent of it.
    pub open_connections_percent: Figure,
    /// Which one that is.
    pub fullest_upstream: String,
    /// Each Envoy that sends statistics.
    pub envoys: Vec<EnvoyMachine>,
    /// The part that was asked for.
    pub filter: Part,
    /// What of it makes no difference here.
    pub not_filtered: Vec<&'static str>,
    /// Always `now`.
    pub window: &'static str,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// What the percentages are of.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Limits {
    /// Whose: machine or cgroup.
    pub memory: &'static str,
    /// The cgroup's limit, megabytes; 0 = none.
    pub memory_mb: Figure,
    /// Whose: machine or cgroup.
    pub cpu: &'static str,
    /// The cgroup's limit, cores; 0 = none.
    pub cpu_cores: Figure,
}

/// One Envoy, by its own statistics.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnvoyMachine {
    /// Node id of the Envoy.
    pub node_id: String,
    /// Memory it holds from the operating system, megabytes.
    pub memory_usage_mb: Figure,
    /// Memory in use on its heap, megabytes.
    pub heap_mb: Figure,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Worker threads.
    pub workers: u64,
    /// 1 unless it is draining.
    pub live: u64,
    /// Connections of clients.
    pub client_connections: u64,
    /// Connections to the upstreams asked for.
    pub upstream_connections: u64,
    /// Connections by upstream.
    pub upstreams: BTreeMap<String, u64>,
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
) -> Machine {
    let share = |value: Option<f64>| number(value.unwrap_or(0.0));
    let node = fleet.node_of(filter);
    let wanted = |name: &str| node.is_none_or(|node| node == name);
    let envoys = stats
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
    Machine {
        memory_usage: share(system.memory_percent),
        cpu_usage: share(system.cpu_percent),
        cpu_usage_percent: share(system.cpu_percent),
        disk_usage: share(system.disk_percent),
        memory_usage_mb: megabytes(system.resident_bytes),
        limits: Limits {
            memory: system.memory_limit_bytes.map_or("machine", |_| "cgroup"),
            memory_mb: megabytes(system.memory_limit_bytes.unwrap_or(0)),
            cpu: system.cpu_limit_cores.map_or("machine", |_| "cgroup"),
            cpu_cores: share(system.cpu_limit_cores),
        },
        open_connections: open,
        client_connections: clients,
        max_connections,
        open_connections_percent: share(fullest.as_ref().map(|fullest| fullest.percent)),
        fullest_upstream: fullest.map_or_else(String::new, |fullest| fullest.upstream),
        envoys,
        filter: super::shown(filter),
        // Machines and connections are no matter of routes.
        not_filtered: filter.route.iter().map(|_| "route").collect(),
        window: "now",
        as_of: now_ms,
    }
}

fn envoy(name: &str, gauges: &Gauges, filter: &Filter) -> EnvoyMachine {
    EnvoyMachine {
        node_id: name.to_owned(),
        memory_usage_mb: megabytes(gauges.memory_bytes),
        heap_mb: megabytes(gauges.heap_bytes),
        uptime_seconds: gauges.uptime_s,
        workers: gauges.concurrency,
        live: gauges.live,
        client_connections: gauges.downstream_open,
        upstream_connections: gauges.upstream_open(filter),
        upstreams: gauges.upstreams.clone(),
    }
}
