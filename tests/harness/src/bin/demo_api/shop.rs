//! The resources.

use crate::catalogue;
use crate::outage::{Outage, weather};
use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Longest outage that can be asked for, seconds.
const LONGEST_OUTAGE: u64 = 600;

pub(crate) fn router(outage: Arc<Outage>) -> Router {
    let shop = Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(detail))
        .route("/search", get(search))
        .route("/me", get(me))
        .route("/orders", post(order))
        .layer(middleware::from_fn_with_state(Arc::clone(&outage), weather));
    let service = Router::new()
        .route("/health", get(health))
        .route("/demo/fail", post(fail))
        .with_state(outage);
    shop.merge(service)
}

async fn list(headers: HeaderMap) -> Response {
    cacheable(
        &headers,
        "max-age=30, stale-while-revalidate=30, stale-if-error=300",
        &json!({"products": catalogue::all()}),
    )
}

async fn detail(Path(id): Path<u32>, headers: HeaderMap) -> Response {
    match catalogue::product(id) {
        Some(product) => cacheable(&headers, "max-age=60, stale-if-error=300", &product),
        None => (
            StatusCode::NOT_FOUND,
            [(header::CACHE_CONTROL, "max-age=5")],
            Json(json!({"error": "no such product"})),
        )
            .into_response(),
    }
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn search(Query(search): Query<Search>, headers: HeaderMap) -> Response {
    let found = catalogue::search(&search.q);
    cacheable(&headers, "max-age=15", &json!({"query": search.q, "products": found}))
}

/// Differs by who asks: no cache may share it.
async fn me(headers: HeaderMap) -> Response {
    match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        Some(who) => {
            let body = Json(json!({"you": who.trim_start_matches("Bearer "), "basket": [3, 14]}));
            ([(header::CACHE_CONTROL, "private, max-age=60")], body).into_response()
        }
        None => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response(),
    }
}

#[derive(Deserialize)]
struct Order {
    product: u32,
}

async fn order(Json(order): Json<Order>) -> Response {
    match catalogue::product(order.product) {
        Some(product) => {
            let place = format!("/products/{}", product.id);
            // The product's stock changes with it: naming the product here makes caches forget it.
            (
                StatusCode::CREATED,
                [(header::CONTENT_LOCATION, place)],
                Json(json!({"ordered": product})),
            )
                .into_response()
        }
        None => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({"error": "no such product"})),
        )
            .into_response(),
    }
}

async fn health(State(outage): State<Arc<Outage>>) -> Response {
    let (status, word) = if outage.is_on() {
        (StatusCode::SERVICE_UNAVAILABLE, "failing")
    } else {
        (StatusCode::OK, "up")
    };
    (
        status,
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({"status": word})),
    )
        .into_response()
}

#[derive(Deserialize)]
struct Failing {
    #[serde(default = "ten")]
    seconds: u64,
}

fn ten() -> u64 {
    10
}

async fn fail(State(outage): State<Arc<Outage>>, Query(failing): Query<Failing>) -> Response {
    let seconds = failing.seconds.min(LONGEST_OUTAGE);
    outage.begin(Duration::from_secs(seconds));
    Json(json!({"failing_for_seconds": seconds})).into_response()
}

/// 200 with an entity tag, or 304 to a client that has this very content.
fn cacheable(request: &HeaderMap, cache_control: &'static str, content: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_string(content) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let fields = [
        (header::CACHE_CONTROL, cache_control.to_owned()),
        (header::ETAG, tag.clone()),
    ];
    let held = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if held.split(',').any(|held| held.trim() == tag) {
        return (StatusCode::NOT_MODIFIED, fields).into_response();
    }
    (fields, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
