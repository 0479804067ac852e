//! The Envoys and what they run on.

use super::settings::violations;
use crate::plane::{Domain, Plane, now_ms};
use axum::Json;
use axum::extract::State;
use control_domain::fleet::Envoy;
use serde_json::{Value, json};
use std::sync::Arc;

#[utoipa::path(get, path = "/fleet", tag = "fleet", responses((status = 200, description = "Every Envoy")))]
pub(crate) async fn list(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let domain = plane.domain();
    let now_ms = now_ms();
    let envoys: Vec<Value> = domain
        .fleet
        .envoys()
        .map(|(name, envoy)| {
            json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "version": envoy.filter_version,
                "capabilities": envoy.capabilities,
                "workers": envoy.workers,
                "connected": envoy.connection.is_some(),
                "last_seen": envoy.seen_ms,
                "silent_for_ms": now_ms.saturating_sub(envoy.seen_ms),
                "revision": envoy.in_force.as_ref().map(|(_, revision)| revision),
                "epoch": envoy.in_force.as_ref().map(|(epoch, _)| epoch),
                "reports_not_merged": envoy.faults.by_cause,
                "last_refused_report": envoy.faults.last.as_ref().map(|(field, at)| json!({ "field": field, "at": at })),
                "behind": behind(envoy, &domain),
                "in_force_since": envoy.in_force_ms,
                "lag_ms": lag_ms(envoy, &domain),
                "ignored": envoy.ignored.iter().map(|unknown| unknown.path.as_str()).collect::<Vec<_>>(),
                "refused": refused(envoy),
            })
        })
        .collect();
    Json(json!(envoys))
}

#[utoipa::path(get, path = "/settings/rollout", tag = "settings", responses((status = 200, description = "Which Envoy runs on which revision")))]
pub(crate) async fn rollout(State(plane): State<Arc<Plane>>) -> Json<Value> {
    let domain = plane.domain();
    let (epoch, present) = (domain.book.epoch(), domain.book.present().number);
    let envoys: Vec<Value> = domain
        .fleet
        .envoys()
        .filter(|(_, envoy)| envoy.connection.is_some())
        .map(|(name, envoy)| {
            let revision = in_force(envoy, epoch).unwrap_or(0);
            json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "revision": revision,
                "behind": behind(envoy, &domain),
                "lag_ms": lag_ms(envoy, &domain),
                "refused": refused(envoy),
            })
        })
        .collect();
    let stragglers = domain.fleet.stragglers(epoch, present);
    let canary = domain.canary.as_ref().map(|canary| canary.revision.number);
    Json(json!({
        "revision": present,
        "epoch": epoch,
        "complete": stragglers.is_empty(),
        "stragglers": stragglers,
        "canary": canary,
        "envoys": envoys,
        "xds": plane.xds.view(present, canary),
    }))
}

/// The revision of our history that an Envoy runs on.
fn in_force(envoy: &Envoy, epoch: &str) -> Option<u64> {
    let (of, revision) = envoy.in_force.as_ref()?;
    (of == epoch).then_some(*revision)
}

/// Revisions an Envoy lacks.
fn behind(envoy: &Envoy, domain: &Domain) -> u64 {
    let revision = in_force(envoy, domain.book.epoch()).unwrap_or(0);
    domain.book.present().number.saturating_sub(revision)
}

/// From the acceptance of the revision an Envoy runs on to its being in force in all its workers; `null` when that was before this
/// control plane started or the revision is not kept.
fn lag_ms(envoy: &Envoy, domain: &Domain) -> Option<u64> {
    let wanted = in_force(envoy, domain.book.epoch())?;
    let revision = domain.book.revisions().find(|revision| revision.number == wanted)?;
    envoy.in_force_ms.checked_sub(revision.at_ms)
}

fn refused(envoy: &Envoy) -> Option<Value> {
    let (revision, why) = envoy.refused.as_ref()?;
    Some(json!({ "revision": revision, "violations": violations(why) }))
}
