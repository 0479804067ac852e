//! The runbook's figures.

use super::problem::{Params, Problem};
use super::query::Window;
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::kernel::clock::now_ms;
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use control_domain::views::{self, Errors, Machine, Performance};
use std::sync::Arc;

#[utoipa::path(get, path = "/metrics/performance", tag = "metrics", params(Window), responses((status = 200, description = "Latency, hit ratio, errors and throughput of the fleet", body = Performance)))]
pub(crate) async fn performance(
    State(fleet): State<Arc<FleetService>>,
    State(health): State<Arc<HealthService>>,
    Params(window): Params<Window>,
) -> Result<Json<Performance>, Problem> {
    let window_ms = window.milliseconds()?;
    let resident_bytes = health.system().resident_bytes;
    Ok(Json(fleet.read(|fleet, stats| {
        views::performance(fleet, stats, &window.filter(), window_ms, resident_bytes, now_ms())
    })))
}

#[utoipa::path(get, path = "/metrics/errors", tag = "metrics", params(Window), responses((status = 200, description = "Failures of upstreams by type", body = Errors)))]
pub(crate) async fn errors(
    State(fleet): State<Arc<FleetService>>,
    Params(window): Params<Window>,
) -> Result<Json<Errors>, Problem> {
    let window_ms = window.milliseconds()?;
    Ok(Json(fleet.read(|fleet, _| {
        views::errors(fleet, &window.filter(), window_ms, now_ms())
    })))
}

/// Memory, processor, disk and connections.
#[utoipa::path(get, path = "/metrics/system", tag = "metrics", params(Window), responses((status = 200, description = "The control plane's machine, and the Envoys", body = Machine)))]
pub(crate) async fn machine(
    State(fleet): State<Arc<FleetService>>,
    State(health): State<Arc<HealthService>>,
    State(settings): State<Arc<SettingsService>>,
    Params(window): Params<Window>,
) -> Result<Json<Machine>, Problem> {
    // Figures of this moment, whatever the window; a wrong one is refused all the same.
    window.milliseconds()?;
    let max_connections = settings.published().readable().max_connections.into();
    let figures = health.system();
    Ok(Json(fleet.read(|fleet, stats| {
        views::system(&figures, fleet, stats, &window.filter(), max_connections, now_ms())
    })))
}
