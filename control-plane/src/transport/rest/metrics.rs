//! The runbook's figures.

use super::problem::Problem;
use super::query::Window;
use crate::infrastructure::system;
use crate::plane::{Plane, now_ms};
use axum::Json;
use axum::extract::{Query, State};
use control_domain::views;
use serde_json::Value;
use std::sync::Arc;

pub(crate) async fn performance(
    State(plane): State<Arc<Plane>>,
    Query(window): Query<Window>,
) -> Result<Json<Value>, Problem> {
    let window_ms = window.milliseconds()?;
    let mut view = views::performance(&plane.domain().fleet, window_ms, now_ms());
    if let (Some(view), Some(bytes)) = (view.as_object_mut(), system::resident_bytes()) {
        #[allow(clippy::cast_precision_loss)]
        view.insert("memory_usage_mb".to_owned(), views::number(bytes as f64 / 1e6));
    }
    Ok(Json(view))
}

pub(crate) async fn errors(
    State(plane): State<Arc<Plane>>,
    Query(window): Query<Window>,
) -> Result<Json<Value>, Problem> {
    let window_ms = window.milliseconds()?;
    Ok(Json(views::errors(&plane.domain().fleet, window_ms, now_ms())))
}
