//! The circuit breakers of the fleet.

use super::problem::{Params, Problem};
use super::query::duration;
use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use control_domain::views;
use optimizer_proto::v1::BreakerCommand;
use optimizer_proto::v1::breaker_command::Action;
use optimizer_proto::v1::command::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Envoys get so long to say that a forced state is in force.
const STEER_WAIT: Duration = Duration::from_secs(2);
/// Longest forced state: one whose control plane dies must end by itself.
const MAX_EXPIRY_MS: u64 = 86_400_000;

#[utoipa::path(get, path = "/circuit-breaker/status", tag = "breaker", responses((status = 200, description = "Worst state and every breaker")))]
pub(crate) async fn status(State(plane): State<Arc<Plane>>) -> Json<Value> {
    Json(views::breakers(&plane.domain().fleet, now_ms()))
}

#[utoipa::path(get, path = "/circuit-breaker/events", tag = "breaker", responses((status = 200, description = "Transitions, the newest last")))]
pub(crate) async fn events(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let domain = plane.domain();
    let events: Vec<Value> = domain
        .fleet
        .events()
        .map(|(node, event)| views::breaker_event(node, event))
        .collect();
    Json(json!(events))
}

/// How long a forced state lasts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steer {
    /// How long it lasts, for example `10m`; 24h at most and when absent.
    expires_in: Option<String>,
}

/// `POST /circuit-breaker/{upstream}/{force-open|force-close|dry-run|reset}?expires_in=10m`
#[utoipa::path(post, path = "/circuit-breaker/{upstream}/{action}", tag = "breaker", params(("upstream" = String, Path, description = "Name of the upstream"), ("action" = String, Path, description = "force-open, force-close, dry-run or reset"), Steer), responses((status = 200, description = "An operator's word in place of the breaker's judgement"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn steer(
    State(plane): State<Arc<Plane>>,
    Path((upstream, action)): Path<(String, String)>,
    Params(steer): Params<Steer>,
) -> Result<Json<Value>, Problem> {
    let action = match action.as_str() {
        "force-open" => Action::ForceOpen,
        "force-close" => Action::ForceClose,
        "dry-run" => Action::DryRun,
        "reset" => Action::Reset,
        _ => return Err(Problem::not_found()),
    };
    let expires_in_ms = match &steer.expires_in {
        None => MAX_EXPIRY_MS,
        Some(text) => duration(text)
            .filter(|expiry| (1..=MAX_EXPIRY_MS).contains(expiry))
            .ok_or_else(|| Problem::bad_query("expires_in", text, "a duration up to 24h"))?,
    };
    let known = {
        let domain = plane.domain();
        domain
            .fleet
            .present(now_ms())
            .any(|(_, envoy)| envoy.gauges.breakers.iter().any(|gauge| gauge.upstream == upstream))
    };
    if !known {
        let title = format!("No Envoy has called an upstream named {upstream}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_upstream", title));
    }
    tracing::warn!(upstream, ?action, expires_in_ms, "breaker steered");
    let command = BreakerCommand {
        upstream,
        action: action.into(),
        expires_in_ms,
    };
    let results = plane.command(Body::Breaker(command), STEER_WAIT).await;
    let done = results
        .iter()
        .filter(|(_, result)| result.as_ref().is_some_and(|result| result.ok))
        .count();
    let late: Vec<&String> = results
        .iter()
        .filter(|(_, result)| !result.as_ref().is_some_and(|result| result.ok))
        .map(|(envoy, _)| envoy)
        .collect();
    Ok(Json(
        json!({ "in_force_on": done, "not_on": late, "expires_in": format!("{expires_in_ms}ms") }),
    ))
}
