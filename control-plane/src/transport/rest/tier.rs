//! The shared cache tier.

use crate::plane::Plane;
use axum::Json;
use axum::extract::State;
use serde_json::Value;
use std::sync::Arc;

/// Where the shared tier is, how it is, and what it has done since this process began.
#[utoipa::path(get, path = "/cache/tier", tag = "cache", responses((status = 200, description = "State and counters of the shared tier")))]
pub(crate) async fn show(State(plane): State<Arc<Plane>>) -> Json<Value> {
    Json(plane.tier.view())
}
