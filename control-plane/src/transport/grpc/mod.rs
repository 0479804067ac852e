//! gRPC for Envoys.

mod arriving;
mod cache_backend;
mod calls;
mod control_link;
mod ending;
mod metrics_sink;
mod parts;
mod probes;
mod pushed;
mod readings;
mod reflection;
mod replica_link;
mod services;
mod statistics;

pub(crate) use control_link::LinkServices;
#[cfg(test)]
pub(crate) use {
    cache_backend::MAX_SUBJECTS, control_link::HELLO, parts::MAX_PARTS, probes::MAX_PROBE, reflection::ANSWERS,
    reflection::MAX_QUESTION,
};

use crate::credentials::{Certificate, PeerAuthenticator};
use crate::kernel::ports::RemoteEnvoys;
use crate::net::bodies::Bodies;
use crate::net::incoming::Io;
use crate::net::unread::Unread;
use crate::tier::Tier;
use crate::xds::{Ads, Clients, XdsPublisher};
use ending::Ending;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    self, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server;
use optimizer_proto::v1::cache_backend_server::CacheBackendServer;
use optimizer_proto::v1::control_link_server::{self, ControlLinkServer};
use optimizer_proto::v1::replica_link_server::ReplicaLinkServer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;
use tower::util::MapRequestLayer;

/// Largest message of a control stream: an Envoy's are half of this.
pub(crate) const MAX_CONTROL: usize = 2 * optimizer_proto::MAX_MESSAGE_BYTES;
/// Names of all resources, and why one was refused.
pub(crate) const MAX_DISCOVERY: usize = 512 << 10;
/// A stored response of the largest size, with its key.
pub(crate) const MAX_TIER: usize = 3 << 19;
/// A command of another replica, with a part of a stored response.
pub(crate) const MAX_RELAYED: usize = 4 * optimizer_proto::MAX_MESSAGE_BYTES;
/// All statistics of an Envoy with many clusters in one message. Those of our bootstraps come in batches, which are far shorter.
pub(crate) const MAX_STATISTICS: usize = 4 << 20;

/// Calls of one connection at a time; Envoy opens another connection for more.
pub(crate) const STREAMS: u32 = 200;
/// Bytes of a connection, and of a call, that are received ahead of being read: what HTTP/2 begins with (RFC 9113 section 6.9.2). They
/// are held for every connection of a peer that does not read its answers, so the most of an address is that many times as much.
pub(crate) const WINDOW: u32 = 65_535;
pub(crate) const STREAM_WINDOW: u32 = WINDOW;

/// Finds connections whose other end vanished without closing them.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Generous: on a machine that is short of processor time, giving up on streams that are merely late makes a fleet reconnect and
/// the shortage worse.
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// The connection of a call.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    address: IpAddr,
    certificate: Certificate,
    unread: Unread,
}

impl Connected for Io {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        Connection {
            address: self.address(),
            certificate: Certificate::of(self.names()),
            unread: self.unread(),
        }
    }
}

/// What Envoys' calls reach.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) link: LinkServices,
    pub(crate) tier: Arc<Tier>,
    /// Envoys that take their clusters from here.
    pub(crate) clients: Arc<Clients>,
    /// The other replicas, of which some call.
    pub(crate) remote: Arc<dyn RemoteEnvoys>,
}

/// The services of the port.
const NAMES: [&str; 8] = [
    control_link_server::SERVICE_NAME,
    probes::TIER,
    probes::REPLICAS,
    aggregated_discovery_service_server::SERVICE_NAME,
    metrics_service_server::SERVICE_NAME,
    probes::HEALTH,
    tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME,
    tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME,
];

/// What ends the port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until told to stop.
pub(crate) async fn serve(
    services: Services,
    xds_publisher: Arc<XdsPublisher>,
    peers: PeerAuthenticator,
    bodies: Bodies,
    incoming: mpsc::Receiver<(Io, SocketAddr)>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Fault> {
    let Services {
        link,
        tier,
        clients,
        remote,
    } = services;
    let refused = Arc::clone(&link.refused);
    let checked = probes::Checked {
        tier: Arc::clone(&tier),
        replicas: Arc::clone(&remote),
    };
    let others = replica_link::ReplicaAuthenticator::new(Arc::clone(&remote), Arc::clone(&refused));
    let sink = metrics_sink::Sink::new(Arc::clone(&link.fleet), clients, bodies.clone(), Arc::clone(&refused));
    let tier = CacheBackendServer::new(cache_backend::Backend::new(tier));
    let tier = tier.max_decoding_message_size(MAX_TIER);
    let replicas = ReplicaLinkServer::new(replica_link::Link::new(Arc::clone(&link.fleet)));
    let replicas = replicas.max_decoding_message_size(MAX_RELAYED);
    let (health, drained) = probes::health(checked, stopped.clone());
    let (reflection, older_reflection) = reflection::services(&NAMES)?;
    let link = control_link::Link::new(link, stopped.clone());
    let service = ControlLinkServer::new(link).max_decoding_message_size(MAX_CONTROL);
    let ads = AggregatedDiscoveryServiceServer::new(Ads::new(xds_publisher, stopped.clone()));
    let ads = ads.max_decoding_message_size(MAX_DISCOVERY);
    // Replicas are asked for a secret of their own; everybody else is an Envoy.
    let peers = Arc::new(peers);
    let guard = || {
        let peers = Arc::clone(&peers);
        move |mut request: Request<()>| {
            let connection = request.extensions().get::<Connection>();
            if let Some(shown) = connection.map(|connection| connection.certificate.clone()) {
                request.extensions_mut().insert(shown);
            }
            peers.admit(request)
        }
    };
    let incoming = ReceiverStream::new(incoming).map(|(io, _)| Ok::<_, std::io::Error>(io));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWERED_WITHIN))
        .max_concurrent_streams(Some(STREAMS))
        .initial_connection_window_size(Some(WINDOW))
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .layer(calls::Layer::new(bodies.clone()))
        .layer(MapRequestLayer::new(move |request| {
            arriving::bounded(request, &bodies, &refused)
        }))
        .add_service(InterceptedService::new(service, guard()))
        .add_service(InterceptedService::new(sink, guard()))
        .add_service(InterceptedService::new(ads, guard()))
        .add_service(InterceptedService::new(tier, guard()))
        .add_service(InterceptedService::new(replicas, move |request| others.admit(request)))
        .add_service(probes::OpenCheck {
            guarded: InterceptedService::new(Ending::new(health.clone(), probes::WATCHED, drained.clone()), guard()),
            open: health,
        })
        .add_service(InterceptedService::new(
            Ending::new(reflection, reflection::ANSWERS, drained.clone()),
            guard(),
        ))
        .add_service(InterceptedService::new(
            Ending::new(older_reflection, reflection::ANSWERS, drained.clone()),
            guard(),
        ))
        .serve_with_incoming_shutdown(incoming, async move {
            // An error means that the sender is gone: time to stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await?;
    Ok(())
}
