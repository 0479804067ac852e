//! Health.

use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::State;
use control_domain::health;
use serde_json::{Value, json};
use std::sync::Arc;

/// Always 200: what is wrong is in the document. Whoever wants a status code asks `/health/live` or `/health/ready`.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, description = "Summary with the reason of every component")))]
pub(crate) async fn summary(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let domain = plane.domain();
    Json(health::summary(&domain.fleet, &plane.facts(&domain), now_ms()).1)
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "The process answers")))]
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// The settings are loaded and the API can serve. Never red because the fleet is away: all replicas would leave the load
/// balancer at once.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses((status = 200, description = "It can serve")))]
pub(crate) async fn ready(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let revision = plane.domain().book.present().number;
    Json(json!({ "status": "ready", "revision": revision }))
}
