//! Bodies of requests as they come: a pause ends them, and large ones are held only as far as there is room.

use super::problem::Problem;
use crate::net::bodies::Bodies;
use crate::xds;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio_stream::StreamExt;

/// Bounds the body of a request that may be sent at all.
pub(super) async fn bounded(State(bodies): State<Bodies>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.body().is_end_stream() {
        return Ok(next.run(request).await);
    }
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.0.ip());
    let _place = bodies.room(from, held(&request)).ok_or_else(|| {
        let title = "Too much is being received at the moment; try again in a second";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_bodies", title).retry_after(Duration::from_secs(1))
    })?;
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
    let said = request.body().size_hint().exact();
    said.and_then(|length| usize::try_from(length).ok())
        .map_or(most, |length| length.min(most))
}

/// A body that did not go on.
#[derive(Debug, thiserror::Error)]
#[error("no more of the body came in time")]
pub(super) struct Paused;
