//! Modules of the filter, and which Envoys run which.

use super::identity::Caller;
use super::problem::{Problem, Raw, Segments, parse};
use crate::fleet::FleetService;
use crate::xds::{Clients, EnvoyModule, ModuleRollout, Modules, Refused};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A module that was kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Uploaded {
    /// Its checksum, by which it is named.
    sha256: String,
    /// Size of the module, bytes.
    bytes: usize,
}

/// Which module is tried by how many.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutRequest {
    /// Checksum of a module that is kept.
    sha256: String,
    /// Percent of the Envoys that get it, 0 to 100.
    #[schema(maximum = 100)]
    canary_percent: u8,
}

/// Modules, and which Envoys run which.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModulesView {
    #[serde(flatten)]
    rollout: ModuleRollout,
    /// Every Envoy that takes its filter by xDS.
    envoys: Vec<EnvoyModule>,
}

/// The body is the module itself.
#[utoipa::path(put, path = "/filter/modules", tag = "filter", request_body(content = Vec<u8>, content_type = "application/wasm"), responses((status = 200, description = "Kept; its checksum", body = Uploaded), (status = 409, description = "As many are kept as can be"), (status = 500, description = "It cannot be kept on disk")))]
pub(crate) async fn upload(
    State(modules): State<Arc<Modules>>,
    caller: Caller,
    Raw(body): Raw,
) -> Result<Json<Uploaded>, Problem> {
    let sha256 = modules.add(&body)?;
    tracing::info!(who = caller.name, sha256, bytes = body.len(), "filter module");
    Ok(Json(Uploaded {
        sha256,
        bytes: body.len(),
    }))
}

/// What Envoys fetch.
#[utoipa::path(get, path = "/filter/modules/{sha256}", tag = "filter", params(("sha256" = String, Path, description = "Its checksum")), responses((status = 200, description = "The module", content_type = "application/wasm"), (status = 404, description = "No such module")))]
pub(crate) async fn fetch(
    State(modules): State<Arc<Modules>>,
    Segments(sha256): Segments<String>,
) -> Result<Response, Problem> {
    let bytes = modules.bytes(&sha256).ok_or_else(Problem::not_found)?;
    let body = axum::body::Bytes::from_owner(bytes);
    Ok(([(header::CONTENT_TYPE, "application/wasm")], body).into_response())
}

#[utoipa::path(get, path = "/filter/rollout", tag = "filter", responses((status = 200, description = "Modules, and which Envoys run which", body = ModulesView)))]
pub(crate) async fn show(
    State(modules): State<Arc<Modules>>,
    State(clients): State<Arc<Clients>>,
    State(fleet): State<Arc<FleetService>>,
) -> Json<ModulesView> {
    let running = fleet.read(|fleet, _| fleet.modules());
    Json(ModulesView {
        rollout: modules.view(),
        envoys: clients.modules(&running),
    })
}

/// `{"sha256": "…", "canary_percent": 10}`: gives a module to a share of the Envoys.
#[utoipa::path(post, path = "/filter/rollout", tag = "filter", request_body = RolloutRequest, responses((status = 200, description = "The canaries are told", body = ModuleRollout), (status = 404, description = "No such module is kept"), (status = 409, description = "Another canary runs"), (status = 500, description = "It cannot be kept on disk")))]
pub(crate) async fn start(
    State(modules): State<Arc<Modules>>,
    caller: Caller,
    Raw(body): Raw,
) -> Result<Json<ModuleRollout>, Problem> {
    let wanted: serde_json::Value = parse(&body)?;
    let wanted = serde_json::from_value(wanted).ok();
    let wanted = wanted.filter(|wanted: &RolloutRequest| wanted.canary_percent <= 100);
    let Some(RolloutRequest { sha256, canary_percent }) = wanted else {
        let title = "The body must be {\"sha256\": checksum of a module, \"canary_percent\": 0 to 100}";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_rollout", title));
    };
    tracing::info!(who = caller.name, sha256, canary_percent, "filter canary");
    modules.canary(&sha256, canary_percent)?;
    Ok(Json(modules.view()))
}

/// The canaries' module becomes everybody's.
#[utoipa::path(post, path = "/filter/rollout/promote", tag = "filter", responses((status = 200, description = "All are told", body = ModuleRollout), (status = 409, description = "No canary runs"), (status = 500, description = "It cannot be kept on disk")))]
pub(crate) async fn promote(
    State(modules): State<Arc<Modules>>,
    caller: Caller,
) -> Result<Json<ModuleRollout>, Problem> {
    tracing::info!(who = caller.name, "filter canary promoted");
    modules.promote()?;
    Ok(Json(modules.view()))
}

/// The canaries go back to what all others run.
#[utoipa::path(post, path = "/filter/rollout/abort", tag = "filter", responses((status = 200, description = "The canaries are told", body = ModuleRollout), (status = 409, description = "No canary runs"), (status = 500, description = "It cannot be kept on disk")))]
pub(crate) async fn abort(State(modules): State<Arc<Modules>>, caller: Caller) -> Result<Json<ModuleRollout>, Problem> {
    tracing::info!(who = caller.name, "filter canary aborted");
    modules.abort()?;
    Ok(Json(modules.view()))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::NoModule => (StatusCode::UNPROCESSABLE_ENTITY, "no_module"),
            Refused::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_module"),
            Refused::NoCanary => (StatusCode::CONFLICT, "no_canary"),
            Refused::Full => (StatusCode::CONFLICT, "modules_full"),
            Refused::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, "storage"),
        };
        Self::new(status, code, refused.to_string())
    }
}
