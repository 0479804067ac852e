//! The runbook's figures.

use super::problem::{Params, Problem};
use super::query::Window;
use crate::host::system;
use crate::kernel::clock::now_ms;
use crate::plane::Plane;
use axum::Json;
use axum::extract::State;
use control_domain::views::{self, Errors, Machine, Performance};
use serde_json::Value;
use std::sync::Arc;

#[utoipa::path(get, path = "/metrics/performance", tag = "metrics", params(Window), responses((status = 200, description = "Latency, hit ratio, errors and throughput of the fleet", body = Performance)))]
pub(crate) async fn performance(
    State(plane): State<Arc<Plane>>,
    Params(window): Params<Window>,
) -> Result<Json<Performance>, Problem> {
    let window_ms = window.milliseconds()?;
    let domain = plane.domain();
    Ok(Json(views::performance(
        &domain.fleet,
        &domain.envoy_stats,
        &window.filter(),
        window_ms,
        system::resident_bytes().unwrap_or(domain.system.resident_bytes),
        now_ms(),
    )))
}

#[utoipa::path(get, path = "/metrics/errors", tag = "metrics", params(Window), responses((status = 200, description = "Failures of upstreams by type", body = Errors)))]
pub(crate) async fn errors(
    State(plane): State<Arc<Plane>>,
    Params(window): Params<Window>,
) -> Result<Json<Errors>, Problem> {
    let window_ms = window.milliseconds()?;
    Ok(Json(views::errors(
        &plane.domain().fleet,
        &window.filter(),
        window_ms,
        now_ms(),
    )))
}

/// Memory, processor, disk and connections.
#[utoipa::path(get, path = "/metrics/system", tag = "metrics", params(Window), responses((status = 200, description = "The control plane's machine, and the Envoys", body = Machine)))]
pub(crate) async fn machine(
    State(plane): State<Arc<Plane>>,
    Params(window): Params<Window>,
) -> Result<Json<Machine>, Problem> {
    // Figures of this moment, whatever the window; a wrong one is refused all the same.
    window.milliseconds()?;
    let domain = plane.domain();
    let max_connections = domain
        .book
        .present()
        .document
        .get("max_connections")
        .and_then(Value::as_u64);
    let mut figures = domain.system;
    figures.resident_bytes = system::resident_bytes().unwrap_or(figures.resident_bytes);
    Ok(Json(views::system(
        &figures,
        &domain.fleet,
        &domain.envoy_stats,
        &window.filter(),
        max_connections.unwrap_or(0),
        now_ms(),
    )))
}
