//! Bounds on requests: how many at a time, how long a pause in a body, how much memory for bodies and answers.

use super::answering::Answering;
use super::problem::Problem;
use crate::net::bodies::{Bodies, Holding};
use crate::net::unread::Unread;
use crate::xds;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio_stream::StreamExt;

/// Bounds requests that may be sent at all. One counts until its answer has been sent, or its client has left.
pub(super) async fn bounded(State(bodies): State<Bodies>, request: Request, next: Next) -> Result<Response, Problem> {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.0.ip());
    let title = "Too many requests at a time; try again in a second";
    let call = bodies.calls.take(from, 1);
    let call = call.ok_or_else(|| later(&bodies, "too_many_requests", title))?;
    let unread = request.extensions().get::<Unread>().cloned().unwrap_or_default();
    let answer = received(&bodies, from, request, next).await?;
    let title = "Too much waits to be read at the moment; try again in a second";
    let answer = Answering::of(answer, &bodies, from, unread);
    let answer = answer.ok_or_else(|| later(&bodies, "too_many_answers", title))?;
    Ok(answer.map(|body| Body::new(Holding::new(body, call))))
}

fn later(bodies: &Bodies, code: &'static str, title: &'static str) -> Problem {
    bodies.refuse();
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, title).retry_after(Duration::from_secs(1))
}

/// Bounds the body of a request.
async fn received(bodies: &Bodies, from: IpAddr, request: Request, next: Next) -> Result<Response, Problem> {
    if request.body().is_end_stream() {
        return Ok(next.run(request).await);
    }
    let title = "Too much is being received at the moment; try again in a second";
    let place = bodies.reserve(from, held(&request));
    let _place = place.ok_or_else(|| later(bodies, "too_many_bodies", title))?;
    let pause = bodies.pause;
    let request = request.map(|body| {
        let data = body.into_data_stream().timeout(pause);
        // After a pause nothing more is waited for.
        let data = data.map(|next| next.unwrap_or_else(|_| Err(axum::Error::new(Paused))));
        Body::from_stream(data)
    });
    Ok(next.run(request).await)
}

/// How much of a body will be in memory: its length where that is said, else the most that is taken.
fn held(request: &Request) -> usize {
    let most = match request.uri().path() {
        // They go to disk.
        "/cache/restore" => 0,
        "/filter/modules" => xds::MAX_BYTES,
        _ => super::MAX_BODY,
    };
    let length = request.body().size_hint().exact();
    length
        .and_then(|length| usize::try_from(length).ok())
        .map_or(most, |length| length.min(most))
}

/// A body that did not go on.
#[derive(Debug, thiserror::Error)]
#[error("no more of the body came in time")]
pub(super) struct Paused;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::places::Places;
    use axum::routing::get;
    use axum::{Router, middleware};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_request_counts_until_its_answer_has_been_sent() {
        let bodies = Bodies::new(Duration::from_secs(1), Places::new(2, 1), Arc::default());
        let refused = Arc::clone(&bodies.refused);
        let router = Router::new()
            .route("/", get(|| async { "answer" }))
            .layer(middleware::from_fn_with_state(bodies, bounded));
        let ask = |from: &str| {
            let mut request = Request::get("/").body(Body::empty()).unwrap();
            let from: SocketAddr = from.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(from));
            router.clone().oneshot(request)
        };
        let first = ask("10.0.0.1:1").await.unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        let second = ask("10.0.0.1:2").await.unwrap();
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE, "its own is taken");
        let other = ask("10.0.0.2:1").await.unwrap();
        assert_eq!(other.status(), StatusCode::OK);
        let third = ask("10.0.0.3:1").await.unwrap();
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE, "all are taken");
        assert_eq!(refused.load(Ordering::Relaxed), 2);
        drop(first);
        assert_eq!(ask("10.0.0.1:3").await.unwrap().status(), StatusCode::OK);
    }
}
