//! The Envoys and what they run on.

use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::State;
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
            let revision = envoy
                .in_force
                .as_ref()
                .filter(|(of, _)| of == epoch)
                .map_or(0, |(_, revision)| *revision);
            let refused = envoy.refused.as_ref().map(|(revision, violations)| {
                let reasons: Vec<Value> = violations
                    .iter()
                    .map(|found| json!({ "path": found.path, "code": found.code, "message": found.message }))
                    .collect();
                json!({ "revision": revision, "violations": reasons })
            });
            json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "revision": revision,
                "behind": present.saturating_sub(revision),
                "refused": refused,
            })
        })
        .collect();
    let stragglers = domain.fleet.stragglers(epoch, present);
    Json(json!({
        "revision": present,
        "epoch": epoch,
        "complete": stragglers.is_empty(),
        "stragglers": stragglers,
        "envoys": envoys,
        "xds": plane.xds.view(present),
    }))
}
