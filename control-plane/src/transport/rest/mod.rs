//! REST for operators and scripts: one file per resource.

mod breaker;
mod cache;
mod fleet;
mod health;
mod metrics;
mod problem;
mod prometheus;
mod query;
mod settings;

use crate::plane::Plane;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use problem::Problem;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Largest request body: a settings document with all its routes is far smaller.
const MAX_BODY: usize = 1 << 20;

fn router(plane: Arc<Plane>) -> Router {
    Router::new()
        .route("/health", get(health::summary))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(prometheus::exposition))
        .route("/metrics/performance", get(metrics::performance))
        .route("/metrics/errors", get(metrics::errors))
        .route("/cache/stats", get(cache::stats))
        .route("/cache/invalidation-stats", get(cache::invalidation))
        .route("/cache/explain", get(cache::explain))
        .route("/circuit-breaker/status", get(breaker::status))
        .route("/circuit-breaker/events", get(breaker::events))
        .route("/circuit-breaker/{upstream}/{action}", post(breaker::steer))
        .route(
            "/settings",
            get(settings::show).put(settings::replace).patch(settings::patch),
        )
        .route("/settings/history", get(settings::history))
        .route("/settings/rollback", post(settings::rollback))
        .route("/settings/rollout", get(fleet::rollout))
        .route("/fleet", get(fleet::list))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(plane)
}

/// Serves until told to stop.
pub(crate) async fn serve(
    plane: Arc<Plane>,
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let app = router(plane).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone: time to stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await
}
