//! Alerts, silences and the live stream.

use super::identity::Caller;
use super::problem::{Body, Params, Problem, Segments};
use super::state::Runbook;
use crate::alerts::AlertService;
use crate::kernel::clock::now_ms;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control_domain::alerts::{Alert, Severity, Silence, State as Stage, about};
use control_domain::telemetry::figure::{Figure, number};
use optimizer_proto::settings::parse_duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

const MAX_SILENCE_MS: u64 = 7 * 86_400_000;
const MAX_TEXT: usize = 256;

/// Which alerts are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertsQuery {
    /// Also those whose condition has not lasted long enough yet.
    #[serde(default)]
    pending: bool,
}

/// An alert as shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    /// Stable over the alert's life and from one to the next with the same name and labels.
    id: String,
    /// Name of the alert rule.
    name: String,
    /// Severity of the alert.
    severity: Severity,
    /// The runbook's SEV-0 to SEV-3.
    sev: u8,
    /// State of the alert.
    state: Stage,
    /// Since when its condition holds, milliseconds since 1970.
    since: u64,
    /// When it ended; 0 while it lasts.
    resolved_at: u64,
    /// The figure, as last seen.
    value: Figure,
    /// What it is compared with.
    threshold: f64,
    /// What it is about.
    labels: BTreeMap<String, String>,
    /// What is wrong, in one sentence.
    summary: String,
    /// Who has seen it; empty when nobody has.
    acknowledged_by: String,
    /// Nobody is told of it at the moment.
    silenced: bool,
    /// Section of the runbook that says what to do.
    runbook: String,
}

fn shown(alert: &Alert, runbook: &str, silenced: bool) -> AlertView {
    let about = about(&alert.name, alert.severity);
    AlertView {
        id: alert.id.clone(),
        name: alert.name.clone(),
        severity: alert.severity,
        sev: about.sev,
        state: alert.state,
        since: alert.since,
        resolved_at: alert.resolved_at,
        value: number(alert.value),
        threshold: alert.threshold,
        labels: alert.labels.clone(),
        summary: alert.summary.clone(),
        acknowledged_by: alert.acknowledged_by.clone().unwrap_or_default(),
        silenced,
        runbook: format!("{runbook}#{}", about.anchor),
    }
}

/// Who has seen an alert.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acknowledged {
    /// Id of the alert.
    id: String,
    /// Who has acknowledged the alert.
    acknowledged_by: String,
}

/// Alerts that are on, the worst first, as a bare array.
#[utoipa::path(get, path = "/alerts/active", tag = "alerts", params(AlertsQuery), responses((status = 200, description = "Array of alerts, empty when none", body = Vec<AlertView>)))]
pub(crate) async fn active(
    State(alerts): State<Arc<AlertService>>,
    State(runbook): State<Runbook>,
    Params(which): Params<AlertsQuery>,
) -> Json<Vec<AlertView>> {
    let active = alerts.active(which.pending);
    let listed = active
        .iter()
        .map(|(alert, silenced)| shown(alert, &runbook.0, *silenced));
    Json(listed.collect())
}

/// Alerts that ended, the newest first.
#[utoipa::path(get, path = "/alerts/history", tag = "alerts", responses((status = 200, description = "Array of alerts that ended", body = Vec<AlertView>)))]
pub(crate) async fn history(
    State(alerts): State<Arc<AlertService>>,
    State(runbook): State<Runbook>,
) -> Json<Vec<AlertView>> {
    let ended = alerts.history();
    Json(ended.iter().map(|alert| shown(alert, &runbook.0, false)).collect())
}

/// Somebody has seen an alert and is at it.
#[utoipa::path(post, path = "/alerts/{id}/ack", tag = "alerts", params(("id" = String, Path, description = "Id of a firing alert")),
    responses((status = 200, description = "Acknowledged", body = Acknowledged), (status = 404, description = "No such alert is on")))]
pub(crate) async fn acknowledge(
    State(alerts): State<Arc<AlertService>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Json<Acknowledged>, Problem> {
    if alerts.acknowledge(&id, &caller.name).await {
        return Ok(Json(Acknowledged {
            id,
            acknowledged_by: caller.name,
        }));
    }
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_alert",
        format!("No alert with id {id} is on"),
    ))
}

/// What nobody wants to be told of for a while.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceRequest {
    /// Name of the rule.
    name: String,
    /// How long, for example `1h`; at most seven days.
    expires_in: String,
    /// Reason, kept with the silence.
    #[serde(default)]
    reason: String,
}

/// Begins a silence, or changes the one of that name.
#[utoipa::path(post, path = "/alerts/silences", tag = "alerts", request_body = SilenceRequest,
    responses((status = 201, description = "In force", body = Silence), (status = 409, description = "There are as many as are kept"), (status = 422, description = "Not a silence")))]
pub(crate) async fn silence(
    State(alerts): State<Arc<AlertService>>,
    caller: Caller,
    Body(asked): Body<SilenceRequest>,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    let lasts = parse_duration(&asked.expires_in)
        .filter(|lasts| (1..=MAX_SILENCE_MS).contains(lasts))
        .ok_or_else(|| Problem::invalid("/expires_in", &asked.expires_in, "a duration up to 168h such as \"1h\""))?;
    if asked.name.is_empty() || asked.name.len() > MAX_TEXT || asked.reason.len() > MAX_TEXT {
        return Err(Problem::invalid("/name", &asked.name, "the name of an alert rule"));
    }
    let silence = Silence {
        name: asked.name,
        by: caller.name,
        reason: asked.reason,
        until: now_ms().saturating_add(lasts),
    };
    tracing::warn!(
        alert = silence.name,
        who = silence.by,
        until = silence.until,
        "alert silenced"
    );
    let view = silence.clone();
    if alerts.silence(silence).await {
        Ok((StatusCode::CREATED, Json(view)))
    } else {
        Err(Problem::new(
            StatusCode::CONFLICT,
            "too_many_silences",
            "There are as many silences as are kept",
        ))
    }
}

/// The silences in force.
#[utoipa::path(get, path = "/alerts/silences", tag = "alerts", responses((status = 200, description = "Array of silences", body = Vec<Silence>)))]
pub(crate) async fn silences(State(alerts): State<Arc<AlertService>>) -> Json<Vec<Silence>> {
    Json(alerts.silences())
}

/// Ends a silence.
#[utoipa::path(delete, path = "/alerts/silences/{name}", tag = "alerts", params(("name" = String, Path, description = "Name of the rule")),
    responses((status = 204, description = "Ended"), (status = 404, description = "There is none")))]
pub(crate) async fn unsilence(
    State(alerts): State<Arc<AlertService>>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Problem> {
    if alerts.unsilence(&name).await {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_silence",
        format!("There is no silence for {name}"),
    ))
}
