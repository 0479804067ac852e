//! The aggregated discovery service: one stream per Envoy, for all kinds of resources.

use super::delta::Delta;
use super::hub::Hub;
use super::kind::Kind;
use super::place::Place;
use super::sotw::Sotw;
use super::variant::{Progress, Variant};
use crate::plane::now_ms;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The first request must come within this time.
const FIRST: Duration = Duration::from_secs(10);
/// Responses that wait for an Envoy to read them; then it is not told of further changes until it does.
const QUEUED: usize = 16;

/// The service.
#[derive(Debug)]
pub(crate) struct Ads {
    hub: Arc<Hub>,
    stopped: watch::Receiver<bool>,
}

impl Ads {
    pub(crate) fn new(hub: Arc<Hub>, stopped: watch::Receiver<bool>) -> Self {
        Self { hub, stopped }
    }

    fn open<V: Variant>(
        &self,
        variant: &'static str,
        incoming: Streaming<V::Request>,
    ) -> ReceiverStream<Result<V::Response, Status>> {
        let (out, receiver) = mpsc::channel(QUEUED);
        let (hub, stopped) = (Arc::clone(&self.hub), self.stopped.clone());
        tokio::spawn(async move {
            if let Err(status) = converse::<V>(&hub, variant, incoming, &out, stopped).await {
                tracing::warn!(%status, "xDS stream refused");
                // Gone is as good as told.
                let _ = out.send(Err(status)).await;
            }
        });
        ReceiverStream::new(receiver)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(Response::new(
            self.open::<Sotw>("state_of_the_world", request.into_inner()),
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(self.open::<Delta>("delta", request.into_inner())))
    }
}

async fn converse<V: Variant>(
    hub: &Hub,
    variant: &'static str,
    mut incoming: Streaming<V::Request>,
    out: &mpsc::Sender<Result<V::Response, Status>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(FIRST, incoming.message()).await;
    let Ok(Ok(Some(first))) = first else {
        return Err(Status::deadline_exceeded("no request came"));
    };
    let node = V::node(&first).ok_or_else(|| Status::invalid_argument("the first request must name the node"))?;
    let node_id = node.id.clone();
    let place = Place::of(node).map_err(Status::invalid_argument)?;
    let mut conversation = Conversation {
        hub,
        stream: hub.next_id(),
        node_id,
        place,
        state: V::default(),
        out,
    };
    hub.clients()
        .enter(conversation.stream, &conversation.node_id, variant, now_ms());
    tracing::info!(node = conversation.node_id, variant, "xDS stream opened");
    let mut stages = hub.watch();
    let mut open = conversation.hear(first).await && conversation.tell().await;
    while open {
        open = tokio::select! {
            message = incoming.message() => match message {
                Ok(Some(request)) => conversation.hear(request).await,
                Ok(None) | Err(_) => false,
            },
            changed = stages.changed() => changed && conversation.tell().await,
            _ = stopped.changed() => false,
        };
    }
    hub.clients().leave(conversation.stream);
    tracing::info!(node = conversation.node_id, "xDS stream closed");
    Ok(())
}

struct Conversation<'c, V: Variant> {
    hub: &'c Hub,
    stream: u64,
    node_id: String,
    place: Place,
    state: V,
    out: &'c mpsc::Sender<Result<V::Response, Status>>,
}

impl<V: Variant> Conversation<'_, V> {
    async fn hear(&mut self, request: V::Request) -> bool {
        let (_, snapshot) = self.hub.snapshot(&self.place);
        let heard = self.state.hear(request, &snapshot);
        if let Some(progress) = heard.progress {
            if let Progress::Refused(kind, reason) = &progress {
                tracing::warn!(
                    node = self.node_id,
                    kind = kind.as_str(),
                    reason,
                    "configuration refused, last good stays"
                );
            }
            self.hub.clients().answered(self.stream, progress, now_ms());
        }
        match heard.response {
            Some(response) => self.send(response).await,
            None => true,
        }
    }

    /// Whatever is new, what others refer to first.
    async fn tell(&mut self) -> bool {
        let (step, snapshot) = self.hub.snapshot(&self.place);
        for kind in Kind::ALL {
            if let Some(response) = self.state.news(kind, &snapshot)
                && !self.send(response).await
            {
                return false;
            }
        }
        self.hub.clients().told(self.stream, step);
        true
    }

    async fn send(&self, response: V::Response) -> bool {
        if let Some(kind) = V::kind(&response) {
            self.hub.clients().sent(self.stream, kind);
        }
        self.out.send(Ok(response)).await.is_ok()
    }
}
