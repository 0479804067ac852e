//! How well each Envoy is, by its own statistics and by what is heard of its filter.

use super::whole::whole_json;
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::kernel::clock::now_ms;
use crate::xds::Clients;
use axum::extract::State;
use axum::response::Response;
use control_domain::Millis;
use control_domain::fleet::faults::Fault;
use control_domain::health::Status;
use control_domain::telemetry::envoy_stats::EnvoyStats;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// How well an Envoy is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvoyHealth {
    /// Node id of the Envoy.
    node_id: String,
    /// `healthy`, or `degraded` when it has faults.
    status: Status,
    /// What is wrong with it, by component of `/health`.
    faults: Vec<EnvoyFault>,
    /// A filter reports from it.
    filter: bool,
    /// When its own statistics came last, milliseconds since 1970; null when they never came, or not within an hour.
    #[schema(required = true)]
    statistics_at: Option<Millis>,
    /// Overload actions and load shed points that act.
    overload: Vec<OverloadAction>,
    /// How much of its resources is used, percent, by Envoy's name for them; only those that its overload manager watches.
    pressure_percent: BTreeMap<String, u64>,
    /// Parts of its configuration whose last update was refused or never came, by Envoy's name for them.
    refused_configuration: Vec<String>,
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvoyFault {
    /// The component of `/health`.
    component: &'static str,
    /// The rule of the alert.
    alert: &'static str,
    /// What is wrong, in one sentence.
    reason: String,
}

/// An overload action or load shed point that acts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OverloadAction {
    /// Envoy's name for it.
    name: String,
    /// How far it acts, percent.
    percent: u64,
    /// It turns clients away.
    refuses: bool,
}

/// Every Envoy that is there by any sign: its filter, its own statistics, its xDS stream.
#[utoipa::path(get, path = "/fleet/health", operation_id = "fleet_health", tag = "fleet", responses((status = 200, description = "How well each Envoy is", body = Vec<EnvoyHealth>)))]
pub(crate) async fn list(
    State(fleet): State<Arc<FleetService>>,
    State(health): State<Arc<HealthService>>,
    State(clients): State<Arc<Clients>>,
) -> Response {
    whole_json(|| all(&fleet, &health, &clients)).await
}

fn all(fleet: &FleetService, health: &HealthService, clients: &Clients) -> Vec<EnvoyHealth> {
    let now_ms = now_ms();
    let mut faults: BTreeMap<String, Vec<Fault>> = BTreeMap::new();
    for fault in health.envoy_faults(now_ms) {
        faults.entry(fault.envoy.clone()).or_default().push(fault);
    }
    let xds = clients.nodes();
    fleet.read(|fleet, stats| {
        let connected = fleet.modules();
        let filters = fleet.present(now_ms).map(|(_, envoy)| envoy.node_id.clone());
        let statistics = stats.present(now_ms).map(|(node, _)| node.to_owned());
        let all = filters.chain(statistics).chain(xds.into_keys());
        let nodes: BTreeSet<String> = all.filter(|node| !node.is_empty()).collect();
        let view = |node: String| {
            let found = faults.remove(&node).unwrap_or_default();
            of(connected.contains_key(&node), stats, node, found)
        };
        nodes.into_iter().map(view).collect()
    })
}

fn of(filter: bool, stats: &EnvoyStats, node_id: String, faults: Vec<Fault>) -> EnvoyHealth {
    let statistics = stats.node(&node_id);
    let state = statistics.map(|statistics| statistics.state);
    let actions = state.map(|state| state.actions()).unwrap_or_default();
    let overload = actions.into_iter().map(|action| OverloadAction {
        name: action.name,
        percent: action.percent,
        refuses: action.refuses,
    });
    let faults: Vec<EnvoyFault> = faults
        .into_iter()
        .map(|fault| EnvoyFault {
            component: fault.kind.component(),
            alert: fault.kind.rule(),
            reason: fault.reason,
        })
        .collect();
    let status = if faults.is_empty() {
        Status::Healthy
    } else {
        Status::Degraded
    };
    EnvoyHealth {
        status,
        faults,
        filter,
        statistics_at: statistics.map(|statistics| statistics.seen_ms),
        overload: overload.collect(),
        pressure_percent: state.map(|state| state.pressures().clone()).unwrap_or_default(),
        refused_configuration: state
            .into_iter()
            .flat_map(|state| state.failing().map(ToOwned::to_owned))
            .collect(),
        node_id,
    }
}
