//! Envoy's own statistics, pushed by its metrics service sink: what the filter cannot see.

use super::MAX_STATISTICS;
use super::arriving::caller_of;
use super::readings::Readings;
use super::statistics::{MAX_NAME, Statistics};
use crate::credentials::Peer;
use crate::fleet::FleetService;
use crate::net::bodies::Bodies;
use crate::net::fault_of;
use crate::xds::Clients;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsResponse;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tonic::codegen::{Body, BoxFuture, StdError, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

const METHOD: &str = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";

/// The service. By hand: the one that is generated reads whole messages of the standard types.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    fleet: Arc<FleetService>,
    clients: Arc<Clients>,
    bodies: Bodies,
    /// Envoys' streams that were refused.
    refused: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn new(
        fleet: Arc<FleetService>,
        clients: Arc<Clients>,
        bodies: Bodies,
        refused: Arc<AtomicU64>,
    ) -> Self {
        Self {
            fleet,
            clients,
            bodies,
            refused,
        }
    }

    async fn receive(self, request: Request<Streaming<Statistics>>) -> Result<Response<StreamMetricsResponse>, Status> {
        let peer = Peer::of(&request);
        let mut readings = Readings::new(self.bodies.clone(), caller_of(request.extensions()));
        let mut stream = request.into_inner();
        // Only the first message of a stream says whose it is.
        let mut node_id: Option<String> = None;
        let mut revoked = pin!(peer.revoked());
        loop {
            let message = tokio::select! {
                refused = &mut revoked => return Err(refused),
                () = readings.overdue() => {
                    if let (Some(node_id), Some(reading)) = (&node_id, readings.end()) {
                        self.take(node_id, reading);
                    }
                    continue;
                }
                message = stream.message() => message.inspect_err(|status| {
                    if fault_of(status).is_some() {
                        self.refused.fetch_add(1, Ordering::Relaxed);
                    }
                })?,
            };
            let Some(mut statistics) = message else { break };
            if let Some(id) = statistics.node_id.take() {
                peer.speaks_for(&id)?;
                node_id = Some(id).filter(|id| (1..=MAX_NAME).contains(&id.len()));
            }
            let Some(node_id) = &node_id else {
                return Err(Status::invalid_argument("the first message must name the node"));
            };
            let whole = readings.take(statistics).inspect_err(|_| {
                self.refused.fetch_add(1, Ordering::Relaxed);
            })?;
            whole.into_iter().for_each(|reading| self.take(node_id, reading));
        }
        Ok(Response::new(StreamMetricsResponse {}))
    }

    /// Takes in a whole reading.
    fn take(&self, node_id: &str, reading: Statistics) {
        self.clients.endpoints(node_id, reading.upstreams);
        self.fleet.statistics(node_id, reading.taken);
    }
}

impl NamedService for Sink {
    const NAME: &'static str = "envoy.service.metrics.v3.MetricsService";
}

impl ClientStreamingService<Statistics> for Sink {
    type Response = StreamMetricsResponse;
    type Future = BoxFuture<Response<StreamMetricsResponse>, Status>;

    fn call(&mut self, request: Request<Streaming<Statistics>>) -> Self::Future {
        Box::pin(self.clone().receive(request))
    }
}

impl<B> Service<http::Request<B>> for Sink
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let sink = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("there is no such method").into_http());
            }
            let codec = ProstCodec::<StreamMetricsResponse, Statistics>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MAX_STATISTICS), None);
            Ok(grpc.client_streaming(sink, request).await)
        })
    }
}
