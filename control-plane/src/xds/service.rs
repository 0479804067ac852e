//! The aggregated discovery service: one stream per Envoy, for all kinds of resources.

use super::clients::Step;
use super::delta::Delta;
use super::hub::Hub;
use super::kind::Kind;
use super::place::{Place, Source};
use super::snapshot::Snapshot;
use super::sotw::Sotw;
use super::variant::{Progress, Variant};
use crate::plane::now_ms;
use crate::transport::grpc::Peer;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The first request must come within this time.
const FIRST: Duration = Duration::from_secs(10);
/// Responses that wait for an Envoy to read them; then it is not told of further changes until it does.
const QUEUED: usize = 16;
/// An Envoy refuses a module it has to fetch first. It is told again after this time, then after twice as long, and so on.
const AGAIN: Duration = Duration::from_millis(250);
const TRIES: u32 = 7;

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
        request: Request<Streaming<V::Request>>,
    ) -> ReceiverStream<Result<V::Response, Status>> {
        let (out, receiver) = mpsc::channel(QUEUED);
        let (hub, stopped) = (Arc::clone(&self.hub), self.stopped.clone());
        let caller = (Peer::of(&request), request.into_inner());
        tokio::spawn(async move {
            if let Err(status) = converse::<V>(&hub, variant, caller, &out, stopped).await {
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
    hub: &Hub,
    variant: &'static str,
    (peer, mut incoming): (Peer, Streaming<V::Request>),
    out: &mpsc::Sender<Result<V::Response, Status>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(FIRST, incoming.message()).await;
    let Ok(Ok(Some(first))) = first else {
        return Err(Status::deadline_exceeded("no request came"));
    };
    let node = V::node(&first).ok_or_else(|| Status::invalid_argument("the first request must name the node"))?;
    let node_id = node.id.clone();
    peer.speaks_for(&node_id)?;
    let place = Place::of(node).map_err(Status::invalid_argument)?;
    if V::has_resources(&first) {
        tokio::select! {
            () = hub.decided(&node_id) => {}
            _ = stopped.changed() => return Ok(()),
        }
    }
    let mut conversation = Conversation {
        hub,
        stream: hub.next_id(),
        node_id,
        place,
        state: V::default(),
        out,
        tries: 0,
        again: None,
    };
    hub.clients()
        .enter(conversation.stream, &conversation.node_id, variant, now_ms());
    tracing::info!(node = conversation.node_id, variant, "xDS stream opened");
    let mut stages = hub.watch();
    let mut open = conversation.hear(first).await && conversation.tell().await;
    while open {
        let again = conversation.again;
        open = tokio::select! {
            message = incoming.message() => match message {
                Ok(Some(request)) => conversation.hear(request).await,
                Ok(None) | Err(_) => false,
            },
            changed = stages.changed() => changed && conversation.tell().await,
            () = at(again), if again.is_some() => conversation.repeat().await,
            _ = stopped.changed() => false,
        };
    }
    hub.clients().leave(conversation.stream);
    tracing::info!(node = conversation.node_id, "xDS stream closed");
    Ok(())
}

async fn at(when: Option<Instant>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when).await;
    }
}

struct Conversation<'c, V: Variant> {
    hub: &'c Hub,
    stream: u64,
    node_id: String,
    place: Place,
    state: V,
    out: &'c mpsc::Sender<Result<V::Response, Status>>,
    /// How often the present module was refused, and when it is offered again.
    tries: u32,
    again: Option<Instant>,
}

impl<V: Variant> Conversation<'_, V> {
    fn snapshot(&self) -> (Step, Arc<Snapshot>) {
        let source = self.hub.source(&self.place, &self.node_id);
        self.hub.snapshot(&self.node_id, &self.place, source)
    }

    async fn hear(&mut self, request: V::Request) -> bool {
        let (_, snapshot) = self.snapshot();
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
            self.judge(&progress);
            self.hub.clients().answered(self.stream, progress, now_ms());
        }
        match heard.response {
            Some(response) => self.send(response).await,
            None => true,
        }
    }

    /// Whatever is new, what others refer to first.
    async fn tell(&mut self) -> bool {
        let (step, snapshot) = self.snapshot();
        self.tries = 0;
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

    /// A module that is refused may only have to be fetched first.
    fn judge(&mut self, progress: &Progress) {
        self.again = match progress {
            Progress::Accepted(Kind::Extensions) => None,
            Progress::Refused(Kind::Extensions, _) if self.tries < TRIES => {
                let wait = AGAIN.saturating_mul(1 << self.tries);
                self.tries += 1;
                Some(Instant::now() + wait)
            }
            Progress::Refused(Kind::Extensions, _) => None,
            _ => self.again,
        };
    }

    async fn repeat(&mut self) -> bool {
        self.again = None;
        let (_, snapshot) = self.snapshot();
        match self.state.repeat(Kind::Extensions, &snapshot) {
            Some(response) => self.send(response).await,
            None => true,
        }
    }

    async fn send(&self, response: V::Response) -> bool {
        if let Some(kind) = V::kind(&response) {
            let source = self.hub.source(&self.place, &self.node_id);
            let module = match source {
                Some(Source::Module(sha256)) => Some(sha256),
                _ => None,
            };
            self.hub.clients().sent(self.stream, kind, module);
        }
        self.out.send(Ok(response)).await.is_ok()
    }
}
