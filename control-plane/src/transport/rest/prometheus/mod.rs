//! `GET /metrics`: the fleet and the control plane itself for Prometheus. Base units, closed sets of labels.

mod families;
mod fleet;
mod own;

pub(super) use own::Requests;

use crate::kernel::clock::now_ms;
use crate::plane::Plane;
use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus::{Encoder, TextEncoder};
use std::sync::Arc;

#[utoipa::path(get, path = "/metrics", tag = "metrics", responses((status = 200, description = "Prometheus exposition of the fleet and of the control plane itself", body = String, content_type = "text/plain")))]
pub(crate) async fn exposition(
    State(plane): State<Arc<Plane>>,
    Extension(requests): Extension<Arc<Requests>>,
) -> impl IntoResponse {
    let mut families = {
        let domain = plane.domain();
        let now_ms = now_ms();
        let mut families = fleet::families(&domain, now_ms);
        families.push(fleet::faults(&plane.envoy_faults(&domain, now_ms)));
        families.extend(own::families(&domain));
        families
    };
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
