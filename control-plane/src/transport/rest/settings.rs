//! The settings document.

use super::answers::{
    Difference, Reached, RefusedBy, Settings, SettingsDocument, SettingsPatch, differences, violations,
};
use super::identity::Caller;
use super::problem::{Params, Problem, Raw, Segments, parse};
use super::query::{SettingsHeaders, SettingsWrite};
use crate::settings::{Published, SettingsService, proposing};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_domain::fleet::RolloutStatus;
use control_domain::settings::change::Change;
use control_domain::settings::history::{Accepted, Author, Refused, SettingsHistory};
use optimizer_proto::settings::{Notice, PROFILES, profile};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// What a change of settings made, or with `dry_run` would make.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Written {
    #[serde(flatten)]
    reached: Reached,
    /// False when the settings were so already; then the revision is the one in force.
    changed: bool,
    /// Nothing was written.
    dry_run: bool,
    /// It is on trial on a part of the fleet.
    canary: bool,
    /// What differs from the settings before.
    changes: Vec<Difference>,
    /// Values that were adjusted, and whether it could not be kept on disk.
    notices: Vec<Adjusted>,
    /// The document as it is now.
    #[schema(value_type = Settings)]
    settings: Value,
}

/// A change of settings: as JSON Patch or as merge patch.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described; a change is read by what it is")]
pub(crate) enum SettingsChange {
    /// A JSON Patch.
    Operations(Vec<PatchOperation>),
    /// A merge patch.
    Merge(SettingsPatch),
}

/// One step of a JSON Patch (RFC 6902).
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only described; the patch is read by its own library")]
pub(crate) struct PatchOperation {
    /// What the operation does.
    op: Operation,
    /// JSON Pointer of the setting.
    path: String,
    /// JSON Pointer of the setting that is moved or copied.
    #[schema(required = false)]
    from: Value,
    /// The value that is added, put in place of another, or compared.
    #[schema(required = false)]
    value: Value,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

/// What a step of a JSON Patch does.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// Back to which revision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    /// One of the history.
    revision: u64,
}

/// A value that was taken in another form.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Adjusted {
    /// JSON Pointer of the field; empty when it concerns all.
    path: String,
    /// What was made of it.
    message: String,
}

impl From<&Notice> for Adjusted {
    fn from(notice: &Notice) -> Self {
        Self {
            path: notice.path.clone(),
            message: notice.message.clone(),
        }
    }
}

/// `GET /settings`: the whole document; its entity tag is epoch and revision.
#[utoipa::path(get, path = "/settings", tag = "settings", responses((status = 200, description = "The document; its entity tag is the revision", body = Settings), (status = 304, description = "It is still what the entity tag in If-None-Match names")))]
pub(crate) async fn show(State(settings): State<Arc<SettingsService>>, headers: HeaderMap) -> Response {
    let published = settings.published();
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| names(tags, &tag_of(&published))) {
        let mut response = tagged(tag_of(&published), ());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        return response;
    }
    tagged(tag_of(&published), published.document())
}

/// `PUT /settings`: the whole document; what it leaves out takes its built-in default.
#[utoipa::path(put, path = "/settings", tag = "settings", params(SettingsWrite, SettingsHeaders), request_body(content = SettingsDocument, description = "A settings document"), responses((status = 200, description = "Replaces the document", body = Written), (status = 202, description = "Taken; some Envoys do not run on it yet", body = Written), (status = 409, description = "A canary is under way, or the Envoys run on settings that this control plane has lost"), (status = 412, description = "Somebody else was first"), (status = 428, description = "The setting require_if_match asks for an If-Match"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn replace(
    State(settings): State<Arc<SettingsService>>,
    caller: Caller,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let document = parse(&body)?;
    let change = Change::Replace(document);
    write_settings(&settings, &headers, &caller, &write, proposing(&change)).await
}

/// `PATCH /settings`: JSON Patch or JSON Merge Patch, by content type.
#[utoipa::path(patch, path = "/settings", tag = "settings", params(SettingsWrite, SettingsHeaders), request_body(description = "A merge patch (RFC 7396) or a JSON Patch (RFC 6902); as application/json a list is the latter, anything else the former", content((SettingsPatch = "application/merge-patch+json"), (Vec<PatchOperation> = "application/json-patch+json"), (SettingsChange = "application/json"))), responses((status = 200, description = "JSON Patch or JSON Merge Patch", body = Written), (status = 202, description = "Taken; some Envoys do not run on it yet", body = Written), (status = 409, description = "A canary is under way, or the Envoys run on settings that this control plane has lost"), (status = 412, description = "Somebody else was first"), (status = 428, description = "The setting require_if_match asks for an If-Match"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn patch(
    State(settings): State<Arc<SettingsService>>,
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
    write_settings(&settings, &headers, &caller, &write, proposing(&change)).await
}

/// `POST /settings/rollback` with `{"revision": n}`, or without a body to the revision before.
#[utoipa::path(post, path = "/settings/rollback", tag = "settings", params(SettingsWrite, SettingsHeaders), request_body(content = Option<RollbackRequest>, description = "Without a body to the revision before"), responses((status = 200, description = "Back to an earlier revision", body = Written), (status = 404, description = "Not in the history"), (status = 202, description = "Taken; some Envoys do not run on it yet", body = Written), (status = 409, description = "A canary is under way, or the Envoys run on settings that this control plane has lost"), (status = 412, description = "Somebody else was first"), (status = 428, description = "The setting require_if_match asks for an If-Match"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn rollback(
    State(settings): State<Arc<SettingsService>>,
    caller: Caller,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let to = if body.is_empty() {
        None
    } else {
        let wanted: RollbackRequest = serde_json::from_value(parse(&body)?).map_err(|_| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_rollback",
                "The body must be {\"revision\": number}",
            )
        })?;
        Some(wanted.revision)
    };
    let propose = |history: &SettingsHistory, expected, mut author: Author, now_ms| {
        "rollback".clone_into(&mut author.source);
        history.propose_rollback(to, expected, author, now_ms)
    };
    write_settings(&settings, &headers, &caller, &write, propose).await
}

/// `POST /settings/profile/{name}`: a named set of settings; with `dry_run` the difference it would make.
#[utoipa::path(post, path = "/settings/profile/{name}", tag = "settings", params(("name" = String, Path, description = "Name of a profile"), SettingsWrite, SettingsHeaders),
    responses((status = 200, description = "Applied, or what would change", body = Written), (status = 404, description = "There is no such profile"), (status = 422, description = "The settings in force do not go with it"), (status = 202, description = "Taken; some Envoys do not run on it yet", body = Written), (status = 409, description = "A canary is under way, or the Envoys run on settings that this control plane has lost"), (status = 412, description = "Somebody else was first"), (status = 428, description = "The setting require_if_match asks for an If-Match"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn apply_profile(
    State(settings): State<Arc<SettingsService>>,
    caller: Caller,
    Segments(name): Segments<String>,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(patch) = profile(&name) else {
        let title = format!("There is no profile {name}; known are {}", PROFILES.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_profile", title));
    };
    let change = Change::Merge(patch);
    let propose = |history: &SettingsHistory, expected, mut author: Author, now_ms| {
        "profile".clone_into(&mut author.source);
        if author.reason.is_empty() {
            author.reason = format!("profile {name}");
        }
        history.propose(&change, expected, author, now_ms)
    };
    write_settings(&settings, &headers, &caller, &write, propose).await
}

/// `GET /settings/schema`: what a settings document may hold.
#[utoipa::path(get, path = "/settings/schema", tag = "settings", responses((status = 200, description = "JSON Schema (2020-12) of a settings document: types, units, ranges, defaults and examples", body = Value, content_type = "application/schema+json")))]
pub(crate) async fn schema() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/schema+json")];
    (kind, optimizer_proto::settings::schema().to_string())
}

/// `GET /settings/profiles`: every profile with what it sets.
#[utoipa::path(get, path = "/settings/profiles", tag = "settings", responses((status = 200, description = "Profiles by name: what each sets", body = BTreeMap<String, SettingsPatch>)))]
pub(crate) async fn profiles() -> Json<BTreeMap<&'static str, Value>> {
    let listed = PROFILES.iter().filter_map(|name| Some((*name, profile(name)?)));
    Json(listed.collect())
}

pub(super) async fn write_settings(
    settings: &SettingsService,
    headers: &HeaderMap,
    caller: &Caller,
    write: &SettingsWrite,
    propose: impl Fn(&SettingsHistory, Option<u64>, Author, u64) -> Result<Accepted, Refused> + Send + Sync,
) -> Result<Response, Problem> {
    let wait = write.wait()?;
    let published = settings.published();
    let before = published.document();
    let expected = expected_revision(settings, headers)?;
    let insists = published.readable().require_if_match;
    if insists && !headers.contains_key(header::IF_MATCH) && !write.dry_run {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if_match_required",
            "The setting require_if_match asks for an If-Match with the entity tag of GET /settings",
        ));
    }
    let share = write.share()?;
    let author = author(headers, caller, write);
    settings.may_write(write.confirm || write.dry_run)?;
    let written = settings
        .change(expected, author.clone(), write.dry_run, share, propose)
        .await?;
    if !write.dry_run && !written.accepted.changed {
        settings.confirm_in_force(author).await?;
    }
    let accepted = &written.accepted;
    let number = accepted.revision.number;
    let (status, reached) = if write.dry_run {
        (StatusCode::OK, reached(number, RolloutStatus::default()))
    } else {
        rollout_of(settings, number, wait).await
    };
    let mut notices: Vec<Adjusted> = accepted.notices.iter().map(Adjusted::from).collect();
    notices.extend(written.persist_error.as_ref().map(|why| Adjusted {
        path: String::new(),
        message: why.clone(),
    }));
    let body = Written {
        reached,
        changed: accepted.changed,
        dry_run: write.dry_run,
        canary: written.canary,
        changes: differences(before, &accepted.revision.document),
        notices,
        settings: accepted.revision.document.clone(),
    };
    let mut response = tagged(entity_tag(settings.published().epoch(), number), body);
    *response.status_mut() = status;
    Ok(response)
}

/// What a write answers of its rollout: 200 when nobody was waited for or all have it, else 202 with who does not.
pub(super) async fn rollout_of(
    settings: &SettingsService,
    number: u64,
    wait: Option<Duration>,
) -> (StatusCode, Reached) {
    let rollout = match wait {
        Some(timeout) => settings.wait_for_all(number, timeout).await,
        None => RolloutStatus::default(),
    };
    let complete = rollout.late.is_empty() && rollout.refused.is_empty();
    let status = if complete { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, reached(number, rollout))
}

fn reached(revision: u64, rollout: RolloutStatus) -> Reached {
    let refused = rollout.refused.into_iter().map(|(envoy, why)| RefusedBy {
        envoy,
        violations: violations(&why),
    });
    Reached {
        revision,
        stragglers: rollout.late,
        refused: refused.collect(),
    }
}

fn entity_tag(epoch: &str, revision: u64) -> String {
    format!("\"{epoch}-{revision}\"")
}

/// Whether a list of entity tags, weak or strong, holds this one.
fn names(tags: &str, wanted: &str) -> bool {
    let mut tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag == wanted)
}

fn tag_of(published: &Published) -> String {
    entity_tag(published.epoch(), published.present().number)
}

fn tagged(tag: String, body: impl Serialize) -> Response {
    (
        [(header::ETAG, tag), (header::CACHE_CONTROL, "no-store".to_owned())],
        Json(body),
    )
        .into_response()
}

/// The revision a write is based on, from `If-Match`; `None` when it does not matter to the writer.
fn expected_revision(settings: &SettingsService, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(wanted) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let wanted = wanted.to_str().unwrap_or_default();
    if wanted.trim() == "*" {
        return Ok(None);
    }
    let published = settings.published();
    let found = settings.accepted_at().into_keys().find(|number| {
        let own = entity_tag(published.epoch(), *number);
        wanted.split(',').any(|tag| tag.trim() == own)
    });
    let present = published.present().number;
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
        source: "rest".to_owned(),
        reason: reason(headers, write),
    }
}
