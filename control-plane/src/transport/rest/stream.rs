//! What happens, as it happens: server-sent events, as long as the listener's token is in force.

use super::admission::Admission;
use super::identity::{Allowed, Credential, until_revoked};
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::kernel::clock::now_ms;
use crate::kernel::events::Events;
use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use control_domain::telemetry::sum::Filter;
use control_domain::views;
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};
use tokio_stream::{Stream, StreamExt};

/// The window behind the figures of the live stream.
const WINDOW_MS: u64 = 60_000;

fn sse(kind: &str, data: &impl Serialize) -> SseEvent {
    let data = serde_json::to_string(data).unwrap_or_default();
    SseEvent::default().event(kind).data(data)
}

/// Settings, alerts, breakers, purges, as they change.
#[utoipa::path(get, path = "/events", tag = "live", responses((status = 200, description = "Server-sent events: settings, alert, breaker, purge", content_type = "text/event-stream")))]
pub(crate) async fn events(
    State(events): State<Events>,
    State(admission): State<Arc<Admission>>,
    credential: Option<Extension<Credential>>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    // Whoever reads too slowly misses events rather than holding them up for everybody.
    let stream = BroadcastStream::new(events.listen())
        .filter_map(|event| event.ok().map(|event| Ok(sse(event.kind, &event.data))));
    let allowed = until_revoked(&admission, credential.map(|shown| shown.0));
    Sse::new(Allowing { stream, allowed }).keep_alive(KeepAlive::default())
}

/// Ends with the permission to listen.
struct Allowing<S> {
    stream: S,
    allowed: Allowed,
}

impl<S: Stream + Unpin> Stream for Allowing<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        match self.allowed.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut self.stream).poll_next(context),
        }
    }
}

/// The key figures, each second.
#[utoipa::path(get, path = "/metrics/stream", tag = "live", responses((status = 200, description = "Server-sent events: performance", content_type = "text/event-stream")))]
pub(crate) async fn figures(
    State(fleet): State<Arc<FleetService>>,
    State(health): State<Arc<HealthService>>,
    State(admission): State<Arc<Admission>>,
    credential: Option<Extension<Credential>>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let allowed = until_revoked(&admission, credential.map(|shown| shown.0));
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)));
    let stream = ticks.map(move |_| {
        let resident_bytes = health.measured().resident_bytes;
        let view = fleet.read(|fleet, stats| {
            views::performance(fleet, stats, &Filter::default(), WINDOW_MS, resident_bytes, now_ms())
        });
        Ok(sse("performance", &view))
    });
    Sse::new(Allowing { stream, allowed }).keep_alive(KeepAlive::default())
}
