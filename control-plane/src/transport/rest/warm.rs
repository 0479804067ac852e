//! Warm starts on demand.

use super::identity::Caller;
use super::operations::{OperationKey, full, location};
use super::problem::{Params, Problem};
use crate::cache::{NotBegun, WarmupService};
use crate::fleet::FleetService;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
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

/// Begins to give an Envoy the hottest responses of the others. `/health/ready?warm=` tells how far it is, and so does the operation that
/// the answer's `Operation-Location` names.
#[utoipa::path(post, path = "/cache/warm", tag = "cache", params(Warm, ("operation-key" = Option<String>, Header, description = "Name for the operation: 1 to 64 letters, digits, dots, hyphens and underscores")), responses(
    (status = 202, description = "Begun", body = Begun), (status = 404, description = "No such Envoy is connected"), (status = 409, description = "There is no other Envoy to warm it from"), (status = 429, description = "As many operations are under way as may be")))]
pub(crate) async fn warm(
    State(fleet): State<Arc<FleetService>>,
    State(warmup): State<Arc<WarmupService>>,
    caller: Caller,
    OperationKey(key): OperationKey,
    Params(warm): Params<Warm>,
) -> Result<(StatusCode, HeaderMap, Json<Begun>), Problem> {
    let envoys = fleet.targets(Some(&warm.envoy));
    if envoys.is_empty() {
        let title = format!("No Envoy {} is connected", warm.envoy);
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_envoy", title));
    }
    let bytes = warm.max_mb.unwrap_or(DEFAULT_MAX_MB).saturating_mul(1_000_000);
    tracing::info!(who = caller.name, envoy = warm.envoy, "warming");
    let (mut begun, mut place) = (Vec::new(), HeaderMap::new());
    for envoy in envoys {
        match warmup.begin(&envoy, bytes, (&caller.name, &key)) {
            Ok(id) => {
                begun.push(envoy);
                place = location(&id);
            }
            Err(NotBegun::Full) if begun.is_empty() => return Err(full()),
            Err(_) => {}
        }
    }
    if begun.is_empty() {
        let title = "There is no other Envoy to warm it from";
        return Err(Problem::new(StatusCode::CONFLICT, "no_other_envoy", title));
    }
    Ok((StatusCode::ACCEPTED, place, Json(Begun { warming: begun })))
}
