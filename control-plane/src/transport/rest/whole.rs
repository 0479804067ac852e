//! Answers that grow with the fleet: megabytes for thousands of Envoys.

use crate::kernel::blocking::run_blocking;
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;

/// Made at a time: each takes memory and a core until it is there.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Makes such an answer while the threads of the runtime serve others.
pub(super) async fn whole<T: IntoResponse>(make: impl FnOnce() -> T) -> Response {
    // It is never closed.
    let _turn = TURNS.acquire().await;
    run_blocking(|| make().into_response())
}

/// As JSON.
pub(super) async fn whole_json<T: Serialize>(make: impl FnOnce() -> T) -> Response {
    whole(|| Json(make())).await
}
