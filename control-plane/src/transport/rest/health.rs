//! Health.

use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::State;
use control_domain::health;
use serde_json::{Value, json};
use std::sync::Arc;

/// Always 200: what is wrong is in the document. Whoever wants a status code asks `/health/live` or `/health/ready`.
pub(crate) async fn summary(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let domain = plane.domain();
    Json(health::summary(&domain.fleet, &Plane::facts(&domain), now_ms()).1)
}

/// The process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// The settings are loaded and the API can serve. Never red because the fleet is away: all replicas would leave the load
/// balancer at once.
pub(crate) async fn ready(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let revision = plane.domain().book.present().number;
    Json(json!({ "status": "ready", "revision": revision }))
}
