//! Work that takes long: seen while it goes on, cancelled, and read about afterwards.

use super::identity::Caller;
use super::problem::{Params, Problem, Segments};
use crate::kernel::clock::now_ms;
use crate::operations::{OperationService, Unable};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header::HeaderName;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use control_domain::operations::{Kind, Operation, Receipt, Stage, State as Standing, Unit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where an operation is found; on the answer of what began it.
const LOCATION: HeaderName = HeaderName::from_static("operation-location");
const KEY: &str = "operation-key";
const LONGEST_KEY: usize = 64;

/// An operation as it stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct OperationView {
    /// By which it is asked for.
    id: String,
    /// What is done.
    kind: Kind,
    /// Who asked for it.
    by: String,
    /// The Envoy that it is about; null: all of them.
    #[schema(required = true)]
    envoy: Option<String>,
    /// The Operation-Key of the request that began it.
    #[schema(required = true)]
    key: Option<String>,
    /// How it stands.
    state: Standing,
    /// What is going on within it.
    stage: Stage,
    /// In what `done` and `total` are counted.
    unit: Unit,
    /// How much of the stage is done.
    done: u64,
    /// How much it is in all; null where that cannot be known.
    #[schema(required = true)]
    total: Option<u64>,
    /// Seconds until it is done, at the pace of the work so far; null where that cannot be known.
    #[schema(required = true)]
    eta_seconds: Option<u64>,
    /// When it was asked for, milliseconds since 1970.
    started_at: u64,
    /// When this was true; another replica tells of its operations every 10 s.
    updated_at: u64,
    /// When it ended.
    #[schema(required = true)]
    ended_at: Option<u64>,
    /// Who has cancelled it.
    #[schema(required = true)]
    cancelled_by: Option<String>,
    /// What it has done, once it has ended: also what was cancelled or has failed.
    #[schema(required = true)]
    receipt: Option<Receipt>,
}

impl OperationView {
    fn of(operation: &Operation) -> Self {
        let now_ms = now_ms();
        let (state, has_ended) = (operation.state_at(now_ms), operation.has_ended(now_ms));
        let non_empty = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            id: operation.id.clone(),
            kind: operation.kind,
            by: operation.by.clone(),
            envoy: non_empty(&operation.envoy),
            key: non_empty(&operation.key),
            state,
            stage: operation.progress.stage,
            unit: operation.progress.unit,
            done: operation.progress.done,
            total: operation.progress.total,
            eta_seconds: operation.eta_seconds(now_ms),
            started_at: operation.started_at,
            updated_at: operation.updated_at,
            ended_at: (has_ended && state != Standing::Lost).then_some(operation.updated_at),
            cancelled_by: non_empty(&operation.cancelled_by),
            receipt: has_ended.then(|| operation.receipt_at(now_ms)),
        }
    }
}

/// Which operations.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only those with this Operation-Key.
    key: Option<String>,
    /// Only those under way.
    #[serde(default)]
    active: bool,
}

/// The operations of a day, the newest first and 128 at most: snapshots, restores, warm starts, optimisations, of all replicas. Those of
/// a replica that is gone are `lost` after 30 s; a control plane that restarts forgets its own.
#[utoipa::path(get, path = "/operations", tag = "operations", operation_id = "list_operations", params(Which), responses((status = 200, description = "Operations", body = [OperationView])))]
pub(crate) async fn list(
    State(operations): State<Arc<OperationService>>,
    Params(which): Params<Which>,
) -> Json<Vec<OperationView>> {
    let now_ms = now_ms();
    let all = operations.newest();
    let wanted = all
        .iter()
        .filter(|one| which.key.as_ref().is_none_or(|key| *key == one.key) && !(which.active && one.has_ended(now_ms)));
    Json(wanted.map(OperationView::of).collect())
}

/// An operation, with its receipt once it has ended.
#[utoipa::path(get, path = "/operations/{id}", tag = "operations", operation_id = "show_operation", params(("id" = String, Path, description = "As listed")), responses((status = 200, description = "The operation", body = OperationView), (status = 404, description = "No such operation is remembered")))]
pub(crate) async fn show(
    State(operations): State<Arc<OperationService>>,
    Segments(id): Segments<String>,
) -> Result<Json<OperationView>, Problem> {
    let operation = operations.get(&id).ok_or_else(unknown)?;
    Ok(Json(OperationView::of(&operation)))
}

/// Cancels an operation, at whichever replica it is under way. It ends soon: what it has done until then stays, and its receipt says what.
#[utoipa::path(delete, path = "/operations/{id}", tag = "operations", operation_id = "cancel_operation", params(("id" = String, Path, description = "As listed")), responses((status = 202, description = "It is told to end", body = OperationView), (status = 404, description = "No such operation is remembered"), (status = 409, description = "It has ended, or is being cancelled already")))]
pub(crate) async fn cancel(
    State(operations): State<Arc<OperationService>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<(StatusCode, Json<OperationView>), Problem> {
    let cancelled = operations
        .cancel(&id, &caller.name)
        .await
        .map_err(|unable| match unable {
            Unable::Unknown => unknown(),
            Unable::Ended => {
                let title = "The operation has ended, or is being cancelled already";
                Problem::new(StatusCode::CONFLICT, "operation_ended", title)
            }
        })?;
    Ok((StatusCode::ACCEPTED, Json(OperationView::of(&cancelled))))
}

fn unknown() -> Problem {
    let title = "No operation of this id is remembered";
    Problem::new(StatusCode::NOT_FOUND, "unknown_operation", title)
}

/// What `Operation-Key` names the operation, so that the client finds it before its answer has come; empty without.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperationKey(pub(super) String);

impl<S: Sync> FromRequestParts<S> for OperationKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(KEY) else {
            return Ok(Self::default());
        };
        let sound = |text: &&str| {
            (1..=LONGEST_KEY).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let key = value.to_str().ok().filter(sound);
        key.map(|key| Self(key.to_owned())).ok_or_else(|| {
            let title = "Operation-Key is 1 to 64 letters, digits, dots, hyphens and underscores";
            Problem::new(StatusCode::BAD_REQUEST, "bad_operation_key", title)
        })
    }
}

/// Tells where an operation is found.
pub(super) fn location(id: &str) -> HeaderMap {
    let value = format!("/operations/{id}").parse();
    value.map_or_else(|_| HeaderMap::new(), |value| HeaderMap::from_iter([(LOCATION, value)]))
}

/// As many are under way as may be.
pub(super) fn full() -> Problem {
    let title = "As many operations are under way as may be: see GET /operations?active=true";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_operations", title)
}

/// An operation was cancelled before it was done.
pub(super) fn cancelled(id: &str, because: &str) -> Problem {
    let title = format!("The operation was {because}; GET /operations/{id} tells what it has done");
    Problem::new(StatusCode::CONFLICT, "operation_cancelled", title)
}
