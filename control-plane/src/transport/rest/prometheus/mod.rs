//! `GET /metrics`: the fleet and the control plane itself for Prometheus, in its own text or as OpenMetrics. Base units, closed sets of labels.

mod families;
mod fleet;
mod openmetrics;
mod own;

pub(crate) use own::Requests;

use super::whole::whole;
use crate::alerts::AlertService;
use crate::experiments::ExperimentService;
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::kernel::clock::now_ms;
use crate::settings::SettingsService;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use std::sync::Arc;

/// All of it, as it is now.
pub(super) fn families(
    fleet: &FleetService,
    health: &HealthService,
    settings: &SettingsService,
    alerts: &AlertService,
    experiments: &ExperimentService,
    requests: &Requests,
) -> Vec<MetricFamily> {
    let now_ms = now_ms();
    let mut families = fleet.read(|fleet, stats| fleet::families(fleet, stats, now_ms));
    families.push(fleet::faults(&health.envoy_faults(now_ms)));
    families.extend(own::families(settings, alerts, experiments));
    families.extend(requests.gather());
    families
}

/// Prometheus' own text; OpenMetrics 1.0, with traces as exemplars, where `Accept` asks for it.
#[utoipa::path(get, path = "/metrics", tag = "metrics", responses((status = 200, description = "Prometheus exposition of the fleet and of the control plane itself", content((String = "text/plain"), (String = "application/openmetrics-text")))))]
pub(crate) async fn exposition(
    State(fleet): State<Arc<FleetService>>,
    State(health): State<Arc<HealthService>>,
    State(settings): State<Arc<SettingsService>>,
    State(alerts): State<Arc<AlertService>>,
    State(experiments): State<Arc<ExperimentService>>,
    State(requests): State<Arc<Requests>>,
    headers: HeaderMap,
) -> Response {
    let families = || families(&fleet, &health, &settings, &alerts, &experiments, &requests);
    let kind = |kind| [(header::CONTENT_TYPE, kind), (header::VARY, "accept")];
    if openmetrics::is_wanted(&headers) {
        let text = || openmetrics::text(&families(), &requests.exemplars());
        return whole(|| (kind(openmetrics::CONTENT_TYPE), text())).await;
    }
    whole(|| (kind("text/plain; version=0.0.4; charset=utf-8"), classic(&families()))).await
}

/// Prometheus' own text of these families.
fn classic(families: &[MetricFamily]) -> Vec<u8> {
    let mut text = Vec::new();
    for family in families {
        // One that cannot be written, for it has no series yet, is left out.
        let _ = TextEncoder::new().encode(std::slice::from_ref(family), &mut text);
    }
    text
}
