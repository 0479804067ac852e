//! Simulated Envoys that are configured by xDS: a connection and a delta stream each, every push acknowledged.

use crate::times::Times;
use crate::{Failure, Result};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Values that change live, such as limits of connections.
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// Upstreams.
pub const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// Longest wait for a push to reach every client.
const PATIENCE: Duration = Duration::from_secs(120);
/// Streams that are opened at the same time: a fleet does not come as one, and the listen queue is no subject of this.
const OPENING: usize = 64;
/// A hundred clusters come in one message.
const LARGEST_MESSAGE: usize = 16 << 20;

/// A push that reached one client: its type URL, and when.
struct Told {
    kind: String,
    at: Instant,
}

/// Clients that run until this is dropped.
pub struct XdsClients {
    count: u64,
    told: mpsc::UnboundedReceiver<Told>,
    runtime: Runtime,
}

impl XdsClients {
    /// Connects `count` of them to a control plane's gRPC port and waits until each has got its limits.
    ///
    /// # Errors
    /// They are not told in time.
    pub fn connect(count: u64, address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (seen, told) = mpsc::unbounded_channel();
        let opening = Arc::new(Semaphore::new(OPENING));
        let begin = Instant::now();
        for number in 0..count {
            let (seen, opening) = (seen.clone(), Arc::clone(&opening));
            runtime.spawn(async move {
                if let Err(failure) = client(address, number, &opening, seen).await {
                    eprintln!("A client lost its stream: {failure}");
                }
            });
        }
        let mut clients = Self { count, told, runtime };
        clients.all_told(RUNTIME, begin)?;
        Ok(clients)
    }

    /// Waits until every client was told of a kind of resources since `begin`; how long that took each.
    ///
    /// # Errors
    /// It takes too long.
    pub fn all_told(&mut self, kind: &str, begin: Instant) -> Result<Times> {
        let mut times = Times::new()?;
        while times.count() < self.count {
            let next = self
                .runtime
                .block_on(async { tokio::time::timeout(PATIENCE, self.told.recv()).await });
            let Ok(Some(told)) = next else {
                let told = times.count();
                return Err(Failure::new(format!("only {told} of {} were told", self.count)));
            };
            if told.kind == kind && told.at > begin {
                times.add(told.at - begin);
            }
        }
        Ok(times)
    }
}

fn ask(kind: &str, names: &[&str], nonce: String) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        response_nonce: nonce,
        ..Default::default()
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// One Envoy: subscribes, acknowledges everything, and tells of what it got.
async fn client(
    address: SocketAddr,
    number: u64,
    opening: &Semaphore,
    seen: mpsc::UnboundedSender<Told>,
) -> Result<()> {
    let place = opening.acquire().await.map_err(failed)?;
    let service = AggregatedDiscoveryServiceClient::connect(format!("http://{address}")).await;
    let mut service = service.map_err(failed)?.max_decoding_message_size(LARGEST_MESSAGE);
    let (out, requests) = mpsc::channel(16);
    let node = Node {
        id: format!("envoy-{number}"),
        ..Default::default()
    };
    let first = DeltaDiscoveryRequest {
        node: Some(node),
        ..ask(CLUSTERS, &[], String::new())
    };
    out.send(first).await.map_err(failed)?;
    let limits = ask(RUNTIME, &["api_optimizer"], String::new());
    out.send(limits).await.map_err(failed)?;
    let answers = service.delta_aggregated_resources(ReceiverStream::new(requests)).await;
    let mut answers = answers.map_err(failed)?.into_inner();
    drop(place);
    while let Some(answer) = answers.message().await.map_err(failed)? {
        let acknowledgement = ask(&answer.type_url, &[], answer.nonce.clone());
        out.send(acknowledgement).await.map_err(failed)?;
        let told = Told {
            kind: answer.type_url,
            at: Instant::now(),
        };
        if seen.send(told).is_err() {
            break;
        }
    }
    Ok(())
}
