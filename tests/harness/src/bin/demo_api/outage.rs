//! Failing on request, and taking time: what makes a demo API worth protecting.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Until when every answer is 503, and the sequence that the latencies come from.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    until: Mutex<Option<Instant>>,
    turn: AtomicU64,
}

impl Outage {
    /// Fails for `duration` from now; zero ends a running outage.
    pub(crate) fn begin(&self, duration: Duration) {
        if let Ok(mut until) = self.until.lock() {
            *until = Some(Instant::now() + duration);
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.until
            .lock()
            .is_ok_and(|until| until.is_some_and(|end| Instant::now() < end))
    }

    /// 20 to 80 ms, the same sequence in every run.
    fn latency(&self) -> Duration {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mixed = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        Duration::from_millis(20 + mixed % 61)
    }
}

/// Lets an ordinary request through after its latency, or fails it.
pub(crate) async fn weather(State(outage): State<Arc<Outage>>, request: Request, next: Next) -> Response {
    tokio::time::sleep(outage.latency()).await;
    if outage.is_on() {
        let body = Json(json!({"error": "the demo API was asked to fail"}));
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    next.run(request).await
}
