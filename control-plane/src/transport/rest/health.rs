//! Health.

use super::problem::{Params, Problem};
use super::snapshots::targets;
use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control_domain::health;
use control_domain::views::number;
use serde::Deserialize;
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

/// Whether an Envoy is warm enough.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Gate {
    /// Percent of what there is to warm the Envoys with; without it only the API itself is asked about.
    warm: Option<f64>,
    /// Only this Envoy, by instance or node id; it has to be connected.
    envoy: Option<String>,
}

/// The settings are loaded and the API can serve. Never red because the fleet is away: all replicas would leave the load
/// balancer at once. With `warm` it is the gate of a warm start: red until the Envoys are that warm.
#[utoipa::path(get, path = "/health/ready", tag = "health", params(Gate), responses((status = 200, description = "It can serve"), (status = 503, description = "An Envoy is not warm enough yet, or a new replica has not heard of the settings in force")))]
pub(crate) async fn ready(
    State(plane): State<Arc<Plane>>,
    Params(gate): Params<Gate>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let revision = plane.domain().book.present().number;
    let mut view = json!({ "status": "ready", "revision": revision });
    if !plane.has_settings() {
        view["status"] = json!("waiting for the settings of the other replicas");
        return Ok((StatusCode::SERVICE_UNAVAILABLE, Json(view)));
    }
    let Some(wanted) = gate.warm else {
        return Ok((StatusCode::OK, Json(view)));
    };
    if !(0.0..=100.0).contains(&wanted) {
        return Err(Problem::bad_query(
            "warm",
            &wanted.to_string(),
            "a number from 0 to 100",
        ));
    }
    let envoys = targets(&plane, gate.envoy.as_deref());
    let there = gate.envoy.is_none() || !envoys.is_empty();
    let warmths: Vec<_> = envoys.iter().map(|envoy| (envoy, plane.warming.of(envoy))).collect();
    let ready = there && warmths.iter().all(|(_, warmth)| warmth.percent() >= wanted);
    view["envoys"] = warmths
        .iter()
        .map(|(envoy, warmth)| json!({ "envoy": envoy, "warm": number(warmth.percent()), "state": warmth.word() }))
        .collect();
    if ready {
        return Ok((StatusCode::OK, Json(view)));
    }
    view["status"] = json!(if there { "warming" } else { "not_connected" });
    Ok((StatusCode::SERVICE_UNAVAILABLE, Json(view)))
}
