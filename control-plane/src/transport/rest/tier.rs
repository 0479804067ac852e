//! The shared cache tier.

use crate::tier::{Tier, TierView};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;

/// Where the shared tier is, how it is, and what it has done since this process began.
#[utoipa::path(get, path = "/cache/tier", tag = "cache", responses((status = 200, description = "State and counters of the shared tier", body = TierView)))]
pub(crate) async fn show(State(tier): State<Arc<Tier>>) -> Json<TierView> {
    Json(tier.view())
}
