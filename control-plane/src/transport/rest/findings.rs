//! What verified sharing has found: routes whose responses depend on something that is not in their key.

use super::identity::Caller;
use super::problem::{Params, Problem, Segments};
use super::query::SettingsWrite;
use super::settings::{Written, write_settings};
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use control_domain::settings::change::Change;
use control_domain::settings::history::{Author, SettingsHistory};
use control_domain::settings::quarantine::{proposal, releasing};
use optimizer_proto::settings::{Quarantined, Settings};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// A route whose responses depend on something that is not in their key. No value of a request and nothing of a content is told.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct FindingView {
    /// By which it is released.
    id: String,
    /// Name of the route of the settings; null: requests of no route, of this host and path_prefix.
    #[schema(required = true)]
    route: Option<String>,
    /// Host of the requests.
    host: String,
    /// Beginning of their path.
    path_prefix: String,
    /// The upstream's name in telemetry.
    #[schema(required = true)]
    upstream: Option<String>,
    /// What the responses depend on: `cookie NAME`, `header NAME` or `query NAME`. Several: one of them, or all together.
    depends_on: Vec<String>,
    /// Keyed digest of what was served.
    #[schema(required = true)]
    served: Option<String>,
    /// Keyed digest of another answer of the origin under the same key.
    #[schema(required = true)]
    fetched: Option<String>,
    /// When it was found, milliseconds since 1970.
    found_at: u64,
    /// Whether these requests are kept from the cache. False: the key is made otherwise since, and the entry has no effect.
    quarantined: bool,
    /// A merge patch for `PATCH /settings` that makes what was found part of the key; null where no setting says it.
    #[schema(required = true)]
    proposal: Option<Value>,
}

impl FindingView {
    fn of(entry: &Quarantined, settings: &Settings) -> Self {
        Self {
            id: entry.id.clone(),
            route: entry.route.clone(),
            host: entry.host.clone(),
            path_prefix: entry.path_prefix.clone(),
            upstream: entry.upstream.clone(),
            depends_on: entry.depends_on.clone(),
            served: entry.served.clone(),
            fetched: entry.fetched.clone(),
            found_at: u64::from(entry.since_s) * 1_000,
            quarantined: entry.holds(&settings.routes),
            proposal: proposal(entry, settings),
        }
    }
}

/// What verified sharing has found, the oldest first. These requests go past the cache on every Envoy until the finding is released, or
/// the key of their route is made of something else.
#[utoipa::path(get, path = "/cache/findings", tag = "cache", responses((status = 200, description = "Findings, each with a setting that would make it right", body = [FindingView])))]
pub(crate) async fn list(State(settings): State<Arc<SettingsService>>) -> Json<Vec<FindingView>> {
    let published = settings.published();
    let settings = published.settings();
    let entries = settings.iter().flat_map(|settings| {
        let all = settings.quarantine.iter();
        all.map(|entry| FindingView::of(entry, settings))
    });
    Json(entries.collect())
}

/// Releases what was found: the requests are cached again as before. What still depends on something that is not in the key is found again.
#[utoipa::path(delete, path = "/cache/findings/{id}", tag = "cache", params(("id" = String, Path, description = "As listed"), SettingsWrite, super::query::SettingsHeaders), responses((status = 200, description = "Released, or with dry_run what would change", body = Written), (status = 202, description = "Taken; some Envoys do not run on it yet", body = Written), (status = 404, description = "There is no such finding"), (status = 409, description = "A canary is under way, or the Envoys run on settings that this control plane has lost"), (status = 412, description = "Somebody else was first"), (status = 428, description = "The setting require_if_match asks for an If-Match"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn release(
    State(settings): State<Arc<SettingsService>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if releasing(&id, settings.published().document()).is_none() {
        let title = "There is no finding of this id";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_finding", title));
    }
    let propose = |history: &SettingsHistory, expected, mut author: Author, now_ms| {
        "verify_sharing".clone_into(&mut author.source);
        if author.reason.is_empty() {
            author.reason = format!("finding {id} released");
        }
        let document = &history.present().document;
        let change = releasing(&id, document).unwrap_or_else(|| Change::Replace(document.clone()));
        history.propose(&change, expected, author, now_ms)
    };
    write_settings(&settings, &headers, &caller, &write, propose).await
}
