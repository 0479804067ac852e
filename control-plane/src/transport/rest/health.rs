//! Health.

use super::problem::{Params, Problem};
use crate::cache::WarmupService;
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control_domain::health::Summary;
use control_domain::telemetry::figure::{Figure, number};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `alive`.
    status: &'static str,
}

/// Whether it can serve, or the Envoys are warm enough.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`, `warming`, `not_connected`, or what it waits for.
    status: &'static str,
    /// The settings in force.
    revision: u64,
    /// How warm each Envoy is; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    envoys: Option<Vec<EnvoyWarmth>>,
}

/// How warm an Envoy is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvoyWarmth {
    /// Instance id of the Envoy.
    envoy: String,
    /// Percent of what there is to warm it with.
    warm: Figure,
    /// `not_warmed`, `warming` or `warm`.
    state: &'static str,
}

/// Always 200: what is wrong is in the document. Whoever wants a status code asks `/health/live` or `/health/ready`.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, description = "Summary with the reason of every component", body = Summary)))]
pub(crate) async fn summary(State(health): State<Arc<HealthService>>) -> Json<Summary> {
    Json(health.summary())
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "The process answers", body = Alive)))]
pub(crate) async fn live() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

/// Whether an Envoy is warm enough.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Gate {
    /// Percent of what there is to warm the Envoys with; without it only the API itself is asked about.
    #[param(minimum = 0.0, maximum = 100.0)]
    warm: Option<f64>,
    /// Only this Envoy, by instance or node id; it has to be connected.
    envoy: Option<String>,
}

/// The settings are loaded and the API can serve. Never red because the fleet is away: all replicas would leave the load
/// balancer at once. With `warm` it is the gate of a warm start: red until the Envoys are that warm.
#[utoipa::path(get, path = "/health/ready", tag = "health", params(Gate), responses((status = 200, description = "It can serve", body = Readiness), (status = 503, description = "An Envoy is not warm enough yet, or a new replica has not heard of the settings in force", body = Readiness)))]
pub(crate) async fn ready(
    State(settings): State<Arc<SettingsService>>,
    State(fleet): State<Arc<FleetService>>,
    State(warmup): State<Arc<WarmupService>>,
    Params(gate): Params<Gate>,
) -> Result<(StatusCode, Json<Readiness>), Problem> {
    let revision = settings.published().present().number;
    let mut view = Readiness {
        status: "ready",
        revision,
        envoys: None,
    };
    if !settings.are_known() {
        view.status = "waiting for the settings of the other replicas";
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
    let envoys = fleet.targets(gate.envoy.as_deref());
    let there = gate.envoy.is_none() || !envoys.is_empty();
    let warmths: Vec<_> = envoys.iter().map(|envoy| (envoy, warmup.of(envoy))).collect();
    let ready = there && warmths.iter().all(|(_, warmth)| warmth.percent() >= wanted);
    let shown = warmths.into_iter().map(|(envoy, warmth)| EnvoyWarmth {
        envoy: envoy.clone(),
        warm: number(warmth.percent()),
        state: warmth.as_str(),
    });
    view.envoys = Some(shown.collect());
    if ready {
        return Ok((StatusCode::OK, Json(view)));
    }
    view.status = if there { "warming" } else { "not_connected" };
    Ok((StatusCode::SERVICE_UNAVAILABLE, Json(view)))
}
