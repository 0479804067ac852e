//! The composition root: what is started, and how it stops.

mod addresses;
mod background;
mod config;
mod logging;
mod owners;
mod setup;

pub(crate) use config::Config;

use crate::credentials::PeerAuthenticator;
use crate::net::bodies::Bodies;
use crate::net::places::{CALLS_PER_CONNECTION, GRPC, Limits, Places, REST};
use crate::net::{incoming, tls};
use crate::otlp;
use crate::settings::SettingsService;
use crate::transport::{grpc, rest};
use crate::xds::XdsPublisher;
use addresses::Addresses;
use owners::Owned;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Requests under way get so long to end.
const DRAIN: Duration = Duration::from_secs(5);

/// The description of the REST API.
pub(crate) fn description() -> String {
    rest::description()
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let traces = logging::start(&config)?;
    let running = start(&config).await?;
    tracing::info!(rest = %running.rest_address, grpc = %running.grpc_address, "ready");
    stop_signal().await?;
    tracing::info!("stopping");
    let ended = running.stop().await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    ended
}

/// A control plane that serves.
struct Running {
    rest_address: SocketAddr,
    grpc_address: SocketAddr,
    stop: watch::Sender<bool>,
    rest: JoinHandle<()>,
    grpc: JoinHandle<Result<(), grpc::Fault>>,
    judging: JoinHandle<()>,
}

async fn start(config: &Config) -> Result<Running, Box<dyn Error>> {
    #[cfg(not(feature = "kubernetes"))]
    if let Some(name) = &config.kube_config_map {
        return Err(format!(
            "KUBE_CONFIG_MAP={name} needs a build with the feature \"kubernetes\", which this one has not"
        )
        .into());
    }
    tls::install_provider();
    let (rest_tls, grpc_tls) = setup::encryption(config)?;
    let addresses = Addresses::of(config)?;
    let rest_listener = listen(addresses.rest, config.rest_port, "REST_PORT").await?;
    let grpc_listener = listen(addresses.grpc, config.grpc_port, "GRPC_PORT").await?;
    let (rest_address, grpc_address) = (rest_listener.local_addr()?, grpc_listener.local_addr()?);
    let owned = Owned::open(config, (addresses.grpc, grpc_address.port()), addresses.access)?;
    let (stop, stopped) = watch::channel(false);
    let judging = background::start(config, &owned, &stopped);
    let (limits, each) = (Limits::of_this_process(), config.connections_per_address.get());
    let calls = calls_of_envoys(config, Arc::clone(&owned.refused));
    let requests = requests_of_operators(config, Arc::clone(&owned.requests_refused));
    let (places, bounds) = (Places::new(limits.grpc, each), calls.clone());
    let envoys = incoming::accept(grpc_listener, grpc_tls, places, bounds, stopped.clone());
    let (places, bounds) = (Places::new(limits.rest, each), requests.clone());
    let operators = incoming::accept(rest_listener, rest_tls, places, bounds, stopped.clone());
    let peers = PeerAuthenticator::new(
        owned.envoy_tokens.clone(),
        config.grpc_fleet_names.clone(),
        Arc::clone(&owned.refused),
    );
    let envoys = serve_envoys(
        Arc::clone(&owned.settings),
        (owned.for_envoys(), Arc::clone(&owned.xds_publisher)),
        peers,
        calls,
        envoys,
        stopped.clone(),
    );
    let state = owned.for_operators(config);
    let figures = state.clone();
    otlp::export_metrics(move || rest::figures(&figures), stopped.clone())?;
    let operators = rest::serve(state, requests, operators, stopped);
    Ok(Running {
        rest_address,
        grpc_address,
        stop,
        rest: tokio::spawn(operators),
        grpc: tokio::spawn(envoys),
        judging,
    })
}

impl Running {
    /// Lets what is under way end.
    async fn stop(self) -> Result<(), Box<dyn Error>> {
        let Self {
            stop,
            rest,
            grpc,
            judging,
            ..
        } = self;
        stop.send_replace(true);
        let ended = tokio::time::timeout(DRAIN, async { (rest.await, grpc.await, judging.await) }).await;
        match ended {
            Ok((rest, grpc, judging)) => {
                rest?;
                grpc??;
                judging?;
            }
            Err(_) => tracing::warn!("some requests were still under way"),
        }
        Ok(())
    }
}

/// What Envoys may be calling at a time.
fn calls_of_envoys(config: &Config, refused: Arc<AtomicU64>) -> Bodies {
    let each = config
        .connections_per_address
        .get()
        .saturating_mul(CALLS_PER_CONNECTION);
    Bodies::new(config.body_pause, Places::new(GRPC, each), refused)
}

/// What operators may be asking at a time.
fn requests_of_operators(config: &Config, refused: Arc<AtomicU64>) -> Bodies {
    let each = config.connections_per_address.get();
    Bodies::new(config.body_pause, Places::new(REST, each), refused)
}

/// Takes Envoys in as soon as there are settings to give them.
async fn serve_envoys(
    settings: Arc<SettingsService>,
    (services, xds_publisher): (grpc::Services, Arc<XdsPublisher>),
    peers: PeerAuthenticator,
    bodies: Bodies,
    envoys: mpsc::Receiver<(incoming::Io, SocketAddr)>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), grpc::Fault> {
    tokio::select! {
        () = settings.known() => {}
        _ = stopped.changed() => return Ok(()),
    }
    grpc::serve(services, xds_publisher, peers, bodies, envoys, stopped).await
}

async fn listen(address: IpAddr, port: u16, name: &str) -> Result<TcpListener, String> {
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address} ({name}): {error}"))
}

async fn stop_signal() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod ports_tests;
#[cfg(test)]
mod probes_tests;
#[cfg(test)]
mod unread_tests;
