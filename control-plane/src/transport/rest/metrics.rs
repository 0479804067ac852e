//! The runbook's figures.

use super::problem::{Params, Problem};
use super::query::Window;
use crate::infrastructure::system;
use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::State;
use control_domain::views;
use serde_json::Value;
use std::sync::Arc;

#[utoipa::path(get, path = "/metrics/performance", tag = "metrics", params(Window), responses((status = 200, description = "Latency, hit ratio, errors and throughput of the fleet"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn performance(
    State(plane): State<Arc<Plane>>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Problem> {
    let window_ms = window.milliseconds()?;
    let mut view = {
        let domain = plane.domain();
        views::performance(
            &domain.fleet,
            &domain.envoy_stats,
            &window.filter(),
            window_ms,
            now_ms(),
        )
    };
    if let (Some(view), Some(bytes)) = (view.as_object_mut(), system::resident_bytes()) {
        #[allow(clippy::cast_precision_loss)]
        view.insert("memory_usage_mb".to_owned(), views::number(bytes as f64 / 1e6));
    }
    Ok(Json(view))
}

#[utoipa::path(get, path = "/metrics/errors", tag = "metrics", params(Window), responses((status = 200, description = "Failures of upstreams by type"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn errors(
    State(plane): State<Arc<Plane>>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Problem> {
    let window_ms = window.milliseconds()?;
    Ok(Json(views::errors(
        &plane.domain().fleet,
        &window.filter(),
        window_ms,
        now_ms(),
    )))
}

/// Memory, processor, disk and connections.
#[utoipa::path(get, path = "/metrics/system", tag = "metrics", responses((status = 200, description = "The control plane's machine, and the Envoys")))]
pub(crate) async fn machine(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let domain = plane.domain();
    let max_connections = domain
        .book
        .present()
        .document
        .get("max_connections")
        .and_then(Value::as_u64);
    let mut figures = domain.system;
    figures.resident_bytes = system::resident_bytes().unwrap_or(figures.resident_bytes);
    Json(views::system(
        &figures,
        &domain.envoy_stats,
        max_connections.unwrap_or(0),
        now_ms(),
    ))
}
