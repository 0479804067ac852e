//! The aggregated discovery service: one stream per Envoy, for all kinds of resources.

use super::again::Again;
use super::clients::Step;
use super::delta::Delta;
use super::kind::Kind;
use super::place::{Place, Source};
use super::publisher::XdsPublisher;
use super::push_spans::PushSpans;
use super::resources;
use super::snapshot::Snapshot;
use super::sotw::Sotw;
use super::variant::{Progress, Variant};
use crate::credentials::Peer;
use crate::kernel::clock::now_ms;
use crate::net::fault_of;
use crate::net::outbox::{self, Messages, Outbox, Reservation};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// The first request must come within this time.
pub(crate) const FIRST: Duration = Duration::from_secs(10);

/// The service.
#[derive(Debug)]
pub(crate) struct Ads {
    xds_publisher: Arc<XdsPublisher>,
    stopped: watch::Receiver<bool>,
}

impl Ads {
    pub(crate) fn new(xds_publisher: Arc<XdsPublisher>, stopped: watch::Receiver<bool>) -> Self {
        Self { xds_publisher, stopped }
    }

    fn open<V: Variant>(
        &self,
        variant: &'static str,
        request: Request<Streaming<V::Request>>,
    ) -> Messages<V::Response> {
        let (out, messages) = outbox::channel(Outbox::of(&request));
        let (xds_publisher, stopped) = (Arc::clone(&self.xds_publisher), self.stopped.clone());
        let caller = (Peer::of(&request), request.into_inner());
        tokio::spawn(async move {
            if let Err(status) = converse::<V>(&xds_publisher, variant, caller, &out, stopped).await {
                tracing::warn!(%status, "xDS stream refused");
                xds_publisher.refused();
                out.end(status).await;
            }
        });
        messages
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Messages<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Messages<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(Response::new(self.open::<Sotw>("state_of_the_world", request)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(self.open::<Delta>("delta", request)))
    }
}

async fn converse<V: Variant>(
    xds_publisher: &XdsPublisher,
    variant: &'static str,
    (peer, mut incoming): (Peer, Streaming<V::Request>),
    out: &outbox::Sender<V::Response>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(FIRST, incoming.message()).await;
    let first = match first {
        Ok(Ok(Some(first))) => first,
        Ok(Err(status)) if fault_of(&status).is_some() => return Err(status),
        _ => return Err(Status::deadline_exceeded("no request came")),
    };
    let node = V::node(&first).ok_or_else(|| Status::invalid_argument("the first request must name the node"))?;
    let node_id = node.id.clone();
    peer.speaks_for(&node_id)?;
    let place = Place::of(node).map_err(Status::invalid_argument)?;
    let state = V::default();
    within(&state, &first)?;
    if V::has_resources(&first) {
        tokio::select! {
            () = xds_publisher.decided(&node_id) => {}
            _ = stopped.changed() => return Ok(()),
        }
    }
    let mut conversation = AdsSession {
        xds_publisher,
        stream: xds_publisher.next_id(),
        node_id,
        place,
        state,
        out,
        again: Again::new(now_ms()),
        offered: None,
        push_spans: PushSpans::default(),
    };
    xds_publisher
        .clients()
        .enter(conversation.stream, &conversation.node_id, variant, now_ms());
    tracing::info!(node = conversation.node_id, variant, "xDS stream opened");
    let mut stages = xds_publisher.watch();
    let mut open = conversation.handle(first).await && conversation.send_updates().await;
    let mut refused = None;
    let mut revoked = pin!(peer.revoked());
    while open {
        let again = conversation.again.at();
        open = tokio::select! {
            status = &mut revoked => {
                refused = Some(status);
                false
            }
            message = incoming.message() => match message {
                Ok(Some(request)) => match within(&conversation.state, &request) {
                    Ok(()) => conversation.handle(request).await,
                    Err(status) => {
                        refused = Some(status);
                        false
                    }
                },
                Ok(None) => false,
                Err(status) => {
                    refused = fault_of(&status).map(|_| status);
                    false
                }
            },
            changed = stages.changed() => changed && conversation.send_updates().await,
            () = at(again), if again.is_some() => conversation.repeat().await,
            _ = stopped.changed() => false,
        };
    }
    xds_publisher.clients().leave(conversation.stream);
    tracing::info!(node = conversation.node_id, "xDS stream closed");
    refused.map_or(Ok(()), Err)
}

/// # Errors
/// A request names more than is remembered.
fn within<V: Variant>(state: &V, request: &V::Request) -> Result<(), Status> {
    if state.is_excessive(request) {
        return Err(Status::resource_exhausted(
            "more resources are named than any settings have",
        ));
    }
    Ok(())
}

async fn at(when: Option<Instant>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when).await;
    }
}

struct AdsSession<'c, V: Variant> {
    xds_publisher: &'c XdsPublisher,
    stream: u64,
    node_id: String,
    place: Place,
    state: V,
    out: &'c outbox::Sender<V::Response>,
    again: Again,
    /// Where its filter comes from, as it was told last.
    offered: Option<Source>,
    push_spans: PushSpans,
}

impl<V: Variant> AdsSession<'_, V> {
    fn source(&self) -> Option<Source> {
        self.xds_publisher.source(&self.place, &self.node_id)
    }

    fn snapshot(&self) -> (Step, Arc<Snapshot>) {
        self.xds_publisher.snapshot(&self.node_id, &self.place, self.source())
    }

    async fn handle(&mut self, request: V::Request) -> bool {
        let (_, snapshot) = self.snapshot();
        let Some(reservation) = self.out.reserve(snapshot.bytes()).await else {
            return false;
        };
        let handled = self.state.handle(request, &snapshot);
        if let Some(progress) = handled.progress {
            if let Progress::Refused(kind, reason) = &progress {
                self.log_refusal(*kind, reason);
            }
            self.judge(&progress);
            self.push_spans.end(&progress);
            self.xds_publisher.clients().answered(self.stream, progress, now_ms());
        }
        match handled.response {
            Some(response) => self.send(response, reservation).await,
            None => true,
        }
    }

    /// A module that Envoy has yet to fetch is refused once in the course of every rollout: that is no fault.
    fn log_refusal(&self, kind: Kind, reason: &str) {
        let node = &self.node_id;
        if kind == Kind::Extensions && matches!(self.offered, Some(Source::Module(_))) && self.again.is_first() {
            tracing::info!(node, "the filter's module is being fetched: it is offered again");
        } else {
            tracing::warn!(
                node,
                kind = kind.as_str(),
                reason,
                "configuration refused, last good stays"
            );
        }
    }

    /// Whatever is new, what others refer to first.
    async fn send_updates(&mut self) -> bool {
        let (step, snapshot) = self.snapshot();
        let source = self.source();
        if source != self.offered {
            self.again.start();
            self.offered = source;
        }
        for kind in Kind::ALL {
            let Some(reservation) = self.out.reserve(snapshot.bytes_of(kind)).await else {
                return false;
            };
            if let Some(response) = self.state.pending_response(kind, &snapshot)
                && !self.send(response, reservation).await
            {
                return false;
            }
        }
        self.xds_publisher.clients().sent_all(self.stream, step);
        true
    }

    /// A module that is refused may only have to be fetched first, or its file may still come.
    fn judge(&mut self, progress: &Progress) {
        match progress {
            Progress::Accepted(Kind::Extensions) => self.again.accepted(Instant::now()),
            Progress::Refused(Kind::Extensions, _) => self.again.refused(Instant::now()),
            _ => {}
        }
    }

    async fn repeat(&mut self) -> bool {
        let source = self.source();
        if self.again.doubts() && self.xds_publisher.runs(&self.node_id, source.as_ref()) {
            self.again.confirmed();
            return true;
        }
        let number = self.again.next();
        let Some(source) = source else { return true };
        let mut once_more = Snapshot::default();
        once_more.set(Kind::Extensions, [resources::filter_again(&source, number)]);
        let Some(reservation) = self.out.reserve(once_more.bytes()).await else {
            return false;
        };
        match self.state.repeat(Kind::Extensions, &once_more) {
            Some(response) => self.send(response, reservation).await,
            None => true,
        }
    }

    async fn send(&mut self, response: V::Response, reservation: Reservation) -> bool {
        if let Some(kind) = V::kind(&response) {
            self.push_spans.begin(&self.node_id, kind);
            let module = match self.source() {
                Some(Source::Module(sha256)) => Some(sha256),
                _ => None,
            };
            self.xds_publisher.clients().sent(self.stream, kind, module);
        }
        self.out.send(response, reservation).await
    }
}
