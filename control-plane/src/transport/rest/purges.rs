//! Purges, each with its receipt.

use super::identity::Caller;
use super::problem::{Body, Params, Problem, Segments};
use super::query::{ReasonHeaders, Write};
use super::receipts::{PurgeSummary, Receipt, Receipts, summary};
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::ids::{Ids, unique};
use crate::purges::PurgeService;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use control_domain::purges::{MAX_TARGETS, Purge, Target};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// Purges in a list.
const LISTED: usize = 200;
/// What is to be purged: at least one of the fields.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeRequest {
    /// One absolute URL, in any spelling and by either scheme: what differs in letter case of the host, port 80 or 443, a trailing
    /// dot, escapes, dot segments or repeated slashes only is the same.
    url: Option<String>,
    /// `host/path`: everything whose URL begins so; `/path` on every host.
    prefix: Option<String>,
    /// Everything of a host.
    host: Option<String>,
    /// Everything with this tag, or in this cache group.
    tag: Option<String>,
    /// Everything with one of these tags.
    #[serde(default)]
    tags: Vec<String>,
    /// Purge everything.
    #[serde(default)]
    all: bool,
    /// What is stored becomes stale instead of going.
    #[serde(default)]
    soft: bool,
    /// Reason, kept with the purge.
    #[serde(default)]
    reason: String,
}

/// What would be purged, and where.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct WouldPurge {
    /// Always true.
    dry_run: bool,
    /// What would be purged.
    targets: Vec<Target>,
    /// What is stored would become stale instead of going.
    soft: bool,
    /// Connected Envoys.
    envoys: Vec<String>,
}

/// The receipt, or with `dry_run` what would be done.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(crate) enum PurgeAnswer {
    /// It was accepted.
    Done(Box<Receipt>),
    /// Nothing was done.
    Would(WouldPurge),
}

/// A purge that is remembered.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PurgeListed {
    #[serde(flatten)]
    purge: PurgeSummary,
    /// How many Envoys have done it.
    applied_by: usize,
}

impl PurgeRequest {
    fn targets(&self) -> Result<Vec<Target>, Problem> {
        let mut targets = Vec::new();
        targets.extend(self.all.then_some(Target::All));
        targets.extend(self.url.clone().map(Target::Url));
        targets.extend(self.prefix.clone().map(Target::Prefix));
        targets.extend(self.host.clone().map(Target::Host));
        targets.extend(self.tag.iter().chain(&self.tags).cloned().map(Target::Tag));
        if targets.is_empty() {
            return Err(Problem::invalid(
                "",
                "nothing",
                "one of url, prefix, host, tag, tags and all",
            ));
        }
        if targets.len() > MAX_TARGETS {
            return Err(Problem::invalid(
                "/tags",
                &self.tags.len().to_string(),
                "at most 64 targets",
            ));
        }
        for target in &targets {
            if let Some(allowed) = target.fault() {
                let shown = serde_json::to_value(target).unwrap_or_default();
                let path = format!("/{}", shown["kind"].as_str().unwrap_or_default());
                return Err(Problem::invalid(
                    &path,
                    shown["value"].as_str().unwrap_or_default(),
                    allowed,
                ));
            }
        }
        Ok(targets)
    }
}

/// Purges on every Envoy, also on those that are away, as soon as they return. With `wait=all` the answer comes when all connected
/// Envoys have it in force in every worker.
#[utoipa::path(post, path = "/cache/purge", tag = "cache", params(Write, ReasonHeaders, ("Idempotency-Key" = Option<String>, Header, description = "With the key of an earlier purge nothing is purged again, and its receipt is the answer")), request_body = PurgeRequest, responses(
    (status = 200, description = "In force on all Envoys", body = PurgeAnswer), (status = 202, description = "Accepted; the receipt names who is late or away", body = PurgeAnswer),
    (status = 422, description = "Not a purge, or the Idempotency-Key of another; nothing was purged"), (status = 429, description = "Too many")))]
pub(crate) async fn purge(
    State(purges): State<Arc<PurgeService>>,
    State(fleet): State<Arc<FleetService>>,
    State(ids): State<Arc<Ids>>,
    caller: Caller,
    Params(write): Params<Write>,
    headers: HeaderMap,
    Body(asked): Body<PurgeRequest>,
) -> Result<Response, Problem> {
    let wait = write.wait()?;
    let targets = asked.targets()?;
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(|text| text.chars().take(256).collect::<String>())
    };
    let at = now_ms();
    let purge = Purge {
        id: unique(at),
        at,
        by: caller.name,
        reason: text("x-reason").unwrap_or_else(|| asked.reason.chars().take(256).collect()),
        targets,
        soft: asked.soft,
        idempotency_key: text("idempotency-key"),
        applied: std::collections::BTreeMap::new(),
        matched: std::collections::BTreeMap::new(),
        awaited: std::collections::BTreeSet::new(),
        unrecorded: true,
        round: 0,
    };
    if write.dry_run {
        let would = WouldPurge {
            dry_run: true,
            targets: purge.targets,
            soft: purge.soft,
            envoys: fleet.connected_envoys(),
        };
        return Ok(Json(PurgeAnswer::Would(would)).into_response());
    }
    if !purges.admits(purge.targets.len()) {
        let title = "More purges than are taken per second; a prefix or a tag reaches many at once";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_purges", title);
        return Err(problem.retry_after(Duration::from_secs(1)));
    }
    let purge = purges.awaiting(purge);
    let id = match purges.accept(&purge).await {
        Ok(()) => {
            tokio::spawn(Arc::clone(&purges).send_to_all(purge.clone()).in_current_span());
            purge.id
        }
        Err(earlier) if earlier.is_like(&purge) => earlier.id,
        Err(earlier) => {
            let title = format!("The Idempotency-Key was used for another purge, {}", earlier.id);
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                title,
            ));
        }
    };
    let receipts = Receipts::new(&purges, &fleet, &ids);
    if let Some(timeout) = wait {
        receipts.wait_for(&id, timeout).await;
    }
    let receipt = receipts.of(&id).ok_or_else(|| unknown(&id))?;
    let status = if receipt.complete {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(PurgeAnswer::Done(Box::new(receipt)))).into_response())
}

fn unknown(id: &str) -> Problem {
    let title = format!("No purge {id} is remembered");
    Problem::new(StatusCode::NOT_FOUND, "unknown_purge", title)
}

/// The receipt of a purge.
#[utoipa::path(get, path = "/cache/purges/{id}", tag = "cache", params(("id" = String, Path, description = "Id of a purge")),
    responses((status = 200, description = "Who has done it, and who has not", body = Receipt), (status = 404, description = "No such purge is remembered")))]
pub(crate) async fn show(
    State(purges): State<Arc<PurgeService>>,
    State(fleet): State<Arc<FleetService>>,
    State(ids): State<Arc<Ids>>,
    Segments(id): Segments<String>,
) -> Result<Json<Receipt>, Problem> {
    let receipt = Receipts::new(&purges, &fleet, &ids).of(&id);
    receipt.map(Json).ok_or_else(|| unknown(&id))
}

/// The purges remembered, the newest first.
#[utoipa::path(get, path = "/cache/purges", tag = "cache", responses((status = 200, description = "Array of purges", body = Vec<PurgeListed>)))]
pub(crate) async fn list(State(purges): State<Arc<PurgeService>>) -> Json<Vec<PurgeListed>> {
    let newest = purges.newest(LISTED);
    let listed = newest.iter().map(|purge| PurgeListed {
        purge: summary(purge),
        applied_by: purge.applied.len(),
    });
    Json(listed.collect())
}
