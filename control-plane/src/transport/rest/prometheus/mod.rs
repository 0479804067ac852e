//! `GET /metrics`: the fleet and the control plane itself for Prometheus. Base units, closed sets of labels.

mod families;
mod fleet;
mod own;

pub(super) use own::Requests;

use crate::alerts::AlertService;
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::kernel::clock::now_ms;
use crate::settings::SettingsService;
use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus::{Encoder, TextEncoder};
use std::sync::Arc;

#[utoipa::path(get, path = "/metrics", tag = "metrics", responses((status = 200, description = "Prometheus exposition of the fleet and of the control plane itself", body = String, content_type = "text/plain")))]
pub(crate) async fn exposition(
    State(fleet): State<Arc<FleetService>>,
    State(health): State<Arc<HealthService>>,
    State(settings): State<Arc<SettingsService>>,
    State(alerts): State<Arc<AlertService>>,
    Extension(requests): Extension<Arc<Requests>>,
) -> impl IntoResponse {
    let now_ms = now_ms();
    let mut families = fleet.read(|fleet, stats| fleet::families(fleet, stats, now_ms));
    families.push(fleet::faults(&health.envoy_faults(now_ms)));
    families.extend(own::families(&settings, &alerts));
    families.extend(requests.gather());
    let mut text = Vec::new();
    for family in families {
        // One that cannot be written, for it has no series yet, is left out.
        let _ = TextEncoder::new().encode(&[family], &mut text);
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}
