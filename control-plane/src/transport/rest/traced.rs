//! A server span for every request, by the semantic conventions for HTTP. The route's pattern stands for the path, and nothing of the query: both
//! may name what users asked for.

use crate::kernel::trace::{Cause, TARGET};
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

/// Methods that a span names; others are `_OTHER`, as the conventions say.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// What a caller says with `traceparent` is the parent.
pub(super) async fn traced(request: Request, next: Next) -> Response {
    let span = span_of(&request);
    if span.is_disabled() {
        return next.run(request).await;
    }
    let headers = request.headers();
    Cause::from_fields(|name| headers.get(name).and_then(|value| value.to_str().ok())).lead_to(&span);
    let response = next.run(request).instrument(span.clone()).await;
    end(&span, response.status());
    response
}

fn span_of(request: &Request) -> Span {
    let known = METHODS.contains(request.method());
    let method = if known { request.method().as_str() } else { "_OTHER" };
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let name = match (known, route) {
        (true, Some(route)) => format!("{method} {route}"),
        (true, None) => method.to_owned(),
        (false, Some(route)) => format!("HTTP {route}"),
        (false, None) => "HTTP".to_owned(),
    };
    info_span!(
        target: TARGET,
        "request",
        otel.name = name,
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        error.r#type = Empty,
        otel.status_code = Empty,
    )
}

fn end(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
}
