//! The settings document.

use super::identity::Caller;
use super::problem::{Params, Problem, Raw};
use super::query::SettingsWrite;
use crate::plane::{Plane, proposing};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_domain::book::{Accepted, Author, Book, Refused, difference};
use control_domain::change::Change;
use optimizer_proto::settings::{PROFILES, profile};
use optimizer_proto::v1::Violation;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `GET /settings`: the whole document; its entity tag is epoch and revision.
#[utoipa::path(get, path = "/settings", tag = "settings", responses((status = 200, description = "The document; its entity tag is the revision")))]
pub(crate) async fn show(State(plane): State<Arc<Plane>>) -> Response {
    let domain = plane.domain();
    let present = domain.book.present();
    tagged(&domain.book, present.number, present.document.clone())
}

/// `PUT /settings`: the whole document; what it leaves out takes its built-in default.
#[utoipa::path(put, path = "/settings", tag = "settings", params(SettingsWrite), request_body(content = serde_json::Value, description = "JSON"), responses((status = 200, description = "Replaces the document"), (status = 202, description = "Taken; some Envoys do not run on it yet"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn replace(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let document = parse(&body)?;
    let change = Change::Replace(document);
    write_settings(&plane, &headers, &caller, &write, proposing(&change)).await
}

/// `PATCH /settings`: JSON Patch or JSON Merge Patch, by content type.
#[utoipa::path(patch, path = "/settings", tag = "settings", params(SettingsWrite), request_body(content = serde_json::Value, description = "JSON"), responses((status = 200, description = "JSON Patch or JSON Merge Patch"), (status = 202, description = "Taken; some Envoys do not run on it yet"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn patch(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    let change = match kind {
        "application/json-patch+json" => Change::Patch(parse(&body)?),
        "application/merge-patch+json" => Change::Merge(parse(&body)?),
        // A bare list can only be a JSON Patch, anything else is merged. curl -d alone says x-www-form-urlencoded.
        "application/json" | "application/x-www-form-urlencoded" => match parse(&body)? {
            list @ Value::Array(_) => Change::Patch(list),
            other => Change::Merge(other),
        },
        _ => return Err(Problem::media_type()),
    };
    write_settings(&plane, &headers, &caller, &write, proposing(&change)).await
}

/// `POST /settings/rollback` with `{"revision": n}`, or without a body to the revision before.
#[utoipa::path(post, path = "/settings/rollback", tag = "settings", params(SettingsWrite), request_body(content = serde_json::Value, description = "JSON"), responses((status = 200, description = "Back to an earlier revision"), (status = 202, description = "Taken; some Envoys do not run on it yet"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn rollback(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let to = if body.is_empty() {
        None
    } else {
        let wanted = parse(&body)?;
        let revision = wanted
            .as_object()
            .filter(|map| map.len() == 1)
            .and_then(|map| map.get("revision")?.as_u64());
        Some(revision.ok_or_else(|| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_rollback",
                "The body must be {\"revision\": number}",
            )
        })?)
    };
    let propose = |book: &Book, expected, mut author: Author, now_ms| {
        "rollback".clone_into(&mut author.door);
        book.propose_rollback(to, expected, author, now_ms)
    };
    write_settings(&plane, &headers, &caller, &write, propose).await
}

/// `POST /settings/profile/{name}`: a named set of settings; with `dry_run` the difference it would make.
#[utoipa::path(post, path = "/settings/profile/{name}", tag = "settings", params(("name" = String, Path, description = "Name of a profile"), SettingsWrite),
    responses((status = 200, description = "Applied, or what would change"), (status = 202, description = "Taken; some Envoys do not run on it yet"), (status = "4XX", description = "Refused; problem+json with a stable code")))]
pub(crate) async fn apply_profile(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Path(name): Path<String>,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(patch) = profile(&name) else {
        let title = format!("There is no profile {name}; known are {}", PROFILES.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_profile", title));
    };
    let change = Change::Merge(patch);
    let propose = |book: &Book, expected, mut author: Author, now_ms| {
        "profile".clone_into(&mut author.door);
        if author.reason.is_empty() {
            author.reason = format!("profile {name}");
        }
        book.propose(&change, expected, author, now_ms)
    };
    write_settings(&plane, &headers, &caller, &write, propose).await
}

/// `GET /settings/profiles`: every profile with what it sets.
#[utoipa::path(get, path = "/settings/profiles", tag = "settings", responses((status = 200, description = "Profiles by name")))]
pub(crate) async fn profiles() -> Json<Value> {
    let listed: serde_json::Map<String, Value> = PROFILES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), profile(name)?)))
        .collect();
    Json(Value::Object(listed))
}

async fn write_settings(
    plane: &Plane,
    headers: &HeaderMap,
    caller: &Caller,
    write: &SettingsWrite,
    propose: impl Fn(&Book, Option<u64>, Author, u64) -> Result<Accepted, Refused> + Send + Sync,
) -> Result<Response, Problem> {
    let wait = write.wait()?;
    let before = plane.domain().book.present().document.clone();
    let expected = expected_revision(plane, headers)?;
    let insists = before.get("require_if_match") == Some(&Value::Bool(true));
    if insists && !headers.contains_key(header::IF_MATCH) && !write.dry_run {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if_match_required",
            "The setting require_if_match asks for an If-Match with the entity tag of GET /settings",
        ));
    }
    let share = write.share()?;
    let author = author(headers, caller, write);
    let written = plane.change(expected, author, write.dry_run, share, propose).await?;
    let accepted = &written.accepted;
    let number = accepted.revision.number;
    let (status, mut body) = if write.dry_run {
        (StatusCode::OK, json!({ "revision": number }))
    } else {
        rollout_of(plane, number, wait).await
    };
    let mut notices: Vec<Value> = accepted
        .notices
        .iter()
        .map(|notice| json!({ "path": notice.path, "message": notice.message }))
        .collect();
    notices.extend(
        written
            .not_kept
            .as_ref()
            .map(|why| json!({ "path": "", "message": why })),
    );
    let rest = json!({
        "changed": accepted.changed,
        "dry_run": write.dry_run,
        "canary": written.canary,
        "changes": differences(&before, &accepted.revision.document),
        "notices": notices,
        "settings": accepted.revision.document,
    });
    if let (Some(body), Value::Object(rest)) = (body.as_object_mut(), rest) {
        body.extend(rest);
    }
    let mut response = tagged(&plane.domain().book, number, body);
    *response.status_mut() = status;
    Ok(response)
}

/// What a write answers of its rollout: 200 when nobody was waited for or all have it, else 202 with who does not.
pub(super) async fn rollout_of(plane: &Plane, number: u64, wait: Option<Duration>) -> (StatusCode, Value) {
    let standing = match wait {
        Some(timeout) => plane.wait_for_all(number, timeout).await,
        None => {
            return (
                StatusCode::OK,
                json!({ "revision": number, "stragglers": [], "refused": [] }),
            );
        }
    };
    let refused: Vec<Value> = standing
        .refused
        .iter()
        .map(|(envoy, why)| json!({ "envoy": envoy, "violations": violations(why) }))
        .collect();
    let complete = standing.late.is_empty() && refused.is_empty();
    let status = if complete { StatusCode::OK } else { StatusCode::ACCEPTED };
    (
        status,
        json!({ "revision": number, "stragglers": standing.late, "refused": refused }),
    )
}

/// What an Envoy finds wrong.
pub(super) fn violations(found: &[Violation]) -> Vec<Value> {
    let one = |found: &Violation| json!({ "path": found.path, "code": found.code, "message": found.message });
    found.iter().map(one).collect()
}

fn parse(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::malformed_json(&error))
}

pub(super) fn differences(before: &Value, after: &Value) -> Vec<Value> {
    difference(before, after)
        .into_iter()
        .map(|(path, before, after)| json!({ "path": path, "before": before, "after": after }))
        .collect()
}

fn entity_tag(epoch: &str, revision: u64) -> String {
    format!("\"{epoch}-{revision}\"")
}

fn tagged(book: &Book, revision: u64, body: Value) -> Response {
    let tag = entity_tag(book.epoch(), revision);
    (
        [(header::ETAG, tag), (header::CACHE_CONTROL, "no-store".to_owned())],
        Json(body),
    )
        .into_response()
}

/// The revision a write is based on, from `If-Match`; `None` when it does not matter to the writer.
fn expected_revision(plane: &Plane, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(wanted) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let wanted = wanted.to_str().unwrap_or_default();
    if wanted.trim() == "*" {
        return Ok(None);
    }
    let domain = plane.domain();
    let found = domain.book.revisions().map(|revision| revision.number).find(|number| {
        wanted
            .split(',')
            .any(|tag| tag.trim() == entity_tag(domain.book.epoch(), *number))
    });
    let present = domain.book.present().number;
    found
        .map(Some)
        .ok_or(Problem::from(Refused::Conflict { expected: 0, present }))
}

/// Why, as given with the write: by parameter or by header.
pub(super) fn reason(headers: &HeaderMap, write: &SettingsWrite) -> String {
    let header = || headers.get("x-reason").and_then(|value| value.to_str().ok());
    let given = write.reason.as_deref().or_else(header).unwrap_or_default();
    given.chars().take(256).collect()
}

fn author(headers: &HeaderMap, caller: &Caller, write: &SettingsWrite) -> Author {
    Author {
        who: caller.name.clone(),
        door: "rest".to_owned(),
        reason: reason(headers, write),
    }
}
