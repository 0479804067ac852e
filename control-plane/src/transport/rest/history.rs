//! Who changed what, when, by which way and why.

use super::answers::{Difference, Settings, differences};
use super::problem::{Params, Problem, Segments};
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_domain::settings::history::Revision;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// What of the history is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// How many of the newest.
    limit: Option<usize>,
    /// With the whole document of each revision.
    #[serde(default)]
    documents: bool,
    /// `json` (a list) or `ndjson` (a line each, for archives).
    #[param(pattern = "^(json|ndjson)$")]
    format: Option<String>,
}

/// One revision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recorded {
    /// Number of the revision.
    revision: u64,
    /// When it was accepted, milliseconds since 1970.
    at: u64,
    /// Who made the change.
    who: String,
    /// By which way: `rest`, `config_map`, `rollback` …
    door: String,
    /// Reason that was given for the change.
    reason: String,
    /// What differs from the one before; nothing for the oldest one kept.
    changes: Vec<Difference>,
    /// The whole document, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Settings>)]
    settings: Option<Value>,
}

/// `GET /settings/history`: all revisions kept, oldest first, with what each changed.
#[utoipa::path(get, path = "/settings/history", tag = "settings", params(Part), responses((status = 200, description = "Revisions kept, oldest first, with what each changed", content((Vec<Recorded> = "application/json"), (Recorded = "application/x-ndjson")))))]
pub(crate) async fn list(
    State(settings): State<Arc<SettingsService>>,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    let revisions = settings.history();
    let skipped = revisions.len().saturating_sub(part.limit.unwrap_or(usize::MAX));
    let mut before: Option<&Value> = None;
    let mut listed = Vec::new();
    for (at, revision) in revisions.iter().enumerate() {
        if at >= skipped {
            listed.push(entry(revision, before, part.documents));
        }
        before = Some(&revision.document);
    }
    match part.format.as_deref() {
        None | Some("json") => Ok(Json(listed).into_response()),
        Some("ndjson") => {
            let text: String = listed.iter().filter_map(line).collect();
            Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
        }
        Some(other) => Err(Problem::bad_query("format", other, "json or ndjson")),
    }
}

/// `GET /settings/history/{revision}`: one revision with its document.
#[utoipa::path(get, path = "/settings/history/{revision}", tag = "settings", params(("revision" = u64, Path, description = "Its number")), responses((status = 200, description = "The revision with its document", body = Recorded), (status = 404, description = "Not kept")))]
pub(crate) async fn show(
    State(settings): State<Arc<SettingsService>>,
    Segments(number): Segments<String>,
) -> Result<Json<Recorded>, Problem> {
    let unknown = || {
        let title = format!("revision {number} is not in the history");
        Problem::new(StatusCode::NOT_FOUND, "unknown_revision", title)
    };
    let wanted: u64 = number.parse().map_err(|_| unknown())?;
    let revisions = settings.history();
    let mut before = None;
    for revision in &revisions {
        if revision.number == wanted {
            return Ok(Json(entry(revision, before, true)));
        }
        before = Some(&revision.document);
    }
    Err(unknown())
}

fn line(entry: &Recorded) -> Option<String> {
    Some(serde_json::to_string(entry).ok()? + "\n")
}

fn entry(revision: &Revision, before: Option<&Value>, with_document: bool) -> Recorded {
    Recorded {
        revision: revision.number,
        at: revision.at_ms,
        who: revision.author.who.clone(),
        door: revision.author.source.clone(),
        reason: revision.author.reason.clone(),
        changes: before.map_or_else(Vec::new, |before| differences(before, &revision.document)),
        settings: with_document.then(|| revision.document.clone()),
    }
}
