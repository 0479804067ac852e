//! Warm starts on demand.

use super::identity::Caller;
use super::problem::{Params, Problem};
use crate::cache::WarmupService;
use crate::fleet::FleetService;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const DEFAULT_MAX_MB: u64 = 256;

/// Which Envoy is to be warmed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Warm {
    /// By instance or node id.
    envoy: String,
    /// Megabytes of responses at most; 256 when absent.
    max_mb: Option<u64>,
}

/// What has begun.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Begun {
    /// Envoys that are being warmed.
    warming: Vec<String>,
}

/// Begins to give an Envoy the hottest responses of the others. `/health/ready?warm=` tells how far it is.
#[utoipa::path(post, path = "/cache/warm", tag = "cache", params(Warm), responses(
    (status = 202, description = "Begun", body = Begun), (status = 404, description = "No such Envoy is connected"), (status = 409, description = "There is no other Envoy to warm it from")))]
pub(crate) async fn warm(
    State(fleet): State<Arc<FleetService>>,
    State(warmup): State<Arc<WarmupService>>,
    caller: Caller,
    Params(warm): Params<Warm>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let envoys = fleet.targets(Some(&warm.envoy));
    if envoys.is_empty() {
        let title = format!("No Envoy {} is connected", warm.envoy);
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_envoy", title));
    }
    let bytes = warm.max_mb.unwrap_or(DEFAULT_MAX_MB).saturating_mul(1_000_000);
    tracing::info!(who = caller.name, envoy = warm.envoy, "warming");
    let mut begun = Vec::new();
    for envoy in envoys {
        if warmup.begin(&envoy, bytes) {
            begun.push(envoy);
        }
    }
    if begun.is_empty() {
        let title = "There is no other Envoy to warm it from";
        return Err(Problem::new(StatusCode::CONFLICT, "no_other_envoy", title));
    }
    Ok((StatusCode::ACCEPTED, Json(Begun { warming: begun })))
}
