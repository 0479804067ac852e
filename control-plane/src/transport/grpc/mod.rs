//! gRPC for Envoys.

mod cache_backend;
mod control_link;
mod metrics_sink;
mod peers;
mod replica_link;

pub(crate) use peers::{Door, Peer};

use crate::plane::Plane;
use crate::transport::incoming::Io;
use crate::xds::{Ads, Hub};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::MetricsServiceServer;
use optimizer_proto::v1::cache_backend_server::CacheBackendServer;
use optimizer_proto::v1::control_link_server::ControlLinkServer;
use optimizer_proto::v1::replica_link_server::ReplicaLinkServer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;

/// All statistics of an Envoy with many clusters in one message.
const MAX_STATISTICS: usize = 16 << 20;

/// Finds connections whose other end vanished without a word.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Generous: on a machine that is short of processor time, giving up on streams that are merely late makes a fleet reconnect and
/// the shortage worse.
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(20);

impl Connected for Io {
    type ConnectInfo = peers::Certificate;

    fn connect_info(&self) -> peers::Certificate {
        peers::Certificate::of(self.names())
    }
}

/// Serves until told to stop.
pub(crate) async fn serve(
    plane: Arc<Plane>,
    hub: Arc<Hub>,
    door: Door,
    incoming: mpsc::Receiver<(Io, SocketAddr)>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let sink = metrics_sink::Sink::new(Arc::clone(&plane));
    let sink = MetricsServiceServer::new(sink).max_decoding_message_size(MAX_STATISTICS);
    let tier = CacheBackendServer::new(cache_backend::Backend::new(Arc::clone(&plane.tier)));
    let replicas = ReplicaLinkServer::new(replica_link::Link::new(Arc::clone(&plane)));
    let replicas = replicas.max_decoding_message_size(4 * optimizer_proto::MAX_MESSAGE_BYTES);
    let link = control_link::Link::new(plane, stopped.clone());
    let service = ControlLinkServer::new(link).max_decoding_message_size(4 * optimizer_proto::MAX_MESSAGE_BYTES);
    let ads = AggregatedDiscoveryServiceServer::new(Ads::new(hub, stopped.clone()));
    // Replicas are asked for a secret of their own; everybody else is an Envoy.
    let door = Arc::new(door);
    let guard = || {
        let door = Arc::clone(&door);
        move |request| door.admit(request)
    };
    let incoming = ReceiverStream::new(incoming).map(|(io, _)| Ok::<_, std::io::Error>(io));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWERED_WITHIN))
        .add_service(InterceptedService::new(service, guard()))
        .add_service(InterceptedService::new(sink, guard()))
        .add_service(InterceptedService::new(ads, guard()))
        .add_service(InterceptedService::new(tier, guard()))
        .add_service(replicas)
        .serve_with_incoming_shutdown(incoming, async move {
            // An error means that the sender is gone: time to stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await
}
