//! The composition root: what is started, and how it stops.

mod addresses;
mod config;

pub(crate) use config::Config;

use crate::alerts::notifier::{Notifier, Receivers};
use crate::breakers::service;
use crate::cache::spool::Spool;
use crate::credentials::Door;
use crate::credentials::TokenFile;
use crate::fleet::envoy_admin;
use crate::health::monitor;
use crate::host::system;
use crate::net::bodies::Bodies;
use crate::net::calling::Caller;
use crate::net::incoming;
use crate::net::places::{Limits, Places};
use crate::net::tls::{self, Acceptor, Files};
use crate::plane::{Options, Plane};
use crate::redis::{Endpoint, TlsFiles};
use crate::replication::{Relay, Replicas};
use crate::settings::change;
use crate::settings::config_map::{api, volume};
use crate::settings::store::state_file::StateFile;
use crate::tier::{KeyFile, Setup, Tier};
use crate::transport::{grpc, rest};
use crate::xds::Hub;
use addresses::Addresses;
use control_domain::machine::Machine;
use std::error::Error;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Requests under way get so long to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    tls::install_provider();
    let (rest_tls, grpc_tls) = encryption(&config)?;
    let doors = Addresses::of(&config)?;
    let rest_listener = listen(doors.rest, config.rest_port, "REST_PORT").await?;
    let grpc_listener = listen(doors.grpc, config.grpc_port, "GRPC_PORT").await?;
    let state = config.state_dir.as_deref().map(StateFile::new);
    let tokens = config
        .auth_tokens_file
        .clone()
        .map(TokenFile::open)
        .transpose()?
        .map(Arc::new);
    if let Some(tokens) = tokens.clone() {
        tokio::spawn(async move { tokens.watch().await });
    }
    let envoy_tokens = config
        .grpc_tokens_file
        .clone()
        .map(TokenFile::open_for_envoys)
        .transpose()?;
    let envoy_tokens = envoy_tokens.map(Arc::new);
    if let Some(tokens) = envoy_tokens.clone() {
        tokio::spawn(async move { tokens.watch().await });
    }
    let redis = redis(&config)?;
    let tier = Arc::new(Tier::new(tier_setup(&config, redis.clone())?));
    let running = Arc::clone(&tier);
    tokio::spawn(async move { running.run().await });
    let shared = redis.filter(|_| config.replicas);
    let replicas = match shared {
        Some(redis) => {
            let relay = relay(&config, doors.grpc, grpc_listener.local_addr()?.port())?;
            Some(Arc::new(Replicas::new(redis, &config.redis_key_prefix, relay)))
        }
        None => None,
    };
    let plane = Arc::new(Plane::start(Options {
        tier,
        state,
        replicas: replicas.clone(),
        tokens,
        runbook: config.runbook_url.clone(),
        warm_start_bytes: config.warm_start_mb.saturating_mul(1_000_000),
        machine: Machine {
            memory_mb: config.envoy_memory_mb.or_else(system::memory_mb),
        },
        writes_per_second: config.writes_per_second,
        spool: Spool::new(
            config.spool_dir.clone(),
            config.state_dir.clone(),
            config.restore_max_mb.saturating_mul(1_000_000),
        ),
        close_probes: config.close_probes,
        access: doors.access,
        rest_hosts: config.rest_hosts.clone(),
        asks_nobody: config.auth_tokens_file.is_none() && config.rest_tls_client_ca_file.is_none(),
    }));
    let notifier = Arc::new(Notifier::new(receivers(&config), config.state_dir.as_deref()));
    let (stop, stopped) = watch::channel(false);
    let state_dir = config.state_dir.clone();
    tokio::spawn(crate::purges::service::watch_late(Arc::clone(&plane), stopped.clone()));
    let (judging, until) = (Arc::clone(&plane), stopped.clone());
    tokio::spawn(monitor::deliver(
        Arc::clone(&plane),
        Arc::clone(&notifier),
        stopped.clone(),
    ));
    let judging = tokio::spawn(async move { monitor::run(judging, notifier, state_dir.as_deref(), until).await });
    tokio::spawn(service::renew(Arc::clone(&plane), stopped.clone()));
    follow_config_map(&config, &plane, &stopped);
    if !config.envoy_admin_urls.is_empty() {
        let envoys = config.envoy_admin_urls;
        tokio::spawn(envoy_admin::scrape(Arc::clone(&plane), envoys, stopped.clone()));
    }
    if let Some(replicas) = replicas {
        tokio::spawn(replicas.run(Arc::clone(&plane), stopped.clone()));
    }
    tokio::spawn(change::keep_trying(Arc::clone(&plane), stopped.clone()));
    tracing::info!(rest = %rest_listener.local_addr()?, grpc = %grpc_listener.local_addr()?, "ready");
    let hub = Arc::new(Hub::new(Arc::clone(&plane)));
    tokio::spawn(Arc::clone(&hub).run(stopped.clone()));
    let (limits, each) = (Limits::of_this_process(), config.connections_per_address.get());
    let envoys = incoming::accept(grpc_listener, grpc_tls, Places::new(limits.grpc, each), stopped.clone());
    let operators = incoming::accept(rest_listener, rest_tls, Places::new(limits.rest, each), stopped.clone());
    let door = Door::new(
        envoy_tokens,
        config.grpc_fleet_names,
        Arc::clone(&plane.streams_refused),
    );
    let bodies = || Bodies::new(config.body_pause);
    let envoys = serve_envoys(Arc::clone(&plane), hub, door, bodies(), envoys, stopped.clone());
    let grpc = tokio::spawn(envoys);
    let rest = tokio::spawn(rest::serve(plane, bodies(), operators, stopped));
    asked_to_stop().await?;
    tracing::info!("stopping");
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

/// Takes Envoys in as soon as there are settings to give them.
async fn serve_envoys(
    plane: Arc<Plane>,
    hub: Arc<Hub>,
    door: Door,
    bodies: Bodies,
    envoys: mpsc::Receiver<(incoming::Io, SocketAddr)>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    tokio::select! {
        () = plane.settings_known() => {}
        _ = stopped.changed() => return Ok(()),
    }
    grpc::serve(plane, hub, door, bodies, envoys, stopped).await
}

/// How other replicas are told to reach this one, and how they are called.
fn relay(config: &Config, listening: IpAddr, port: u16) -> Result<Relay, String> {
    let address = match &config.replica_address {
        Some(address)
            if address
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok()) =>
        {
            address.clone()
        }
        Some(host) => format!("{host}:{port}"),
        None if !listening.is_unspecified() => SocketAddr::new(listening, port).to_string(),
        None => {
            let name = system::host_name().ok_or("REPLICA_ADDRESS is needed: this machine has no name")?;
            let found = (name.as_str(), port).to_socket_addrs();
            let address = found.ok().and_then(|mut found| found.next());
            let address = address.ok_or_else(|| format!("REPLICA_ADDRESS is needed: {name} has no address"))?;
            address.to_string()
        }
    };
    tracing::info!(address, "other replicas reach this one there");
    let files = Files::of(
        "GRPC",
        config.grpc_tls_cert_file.clone(),
        config.grpc_tls_key_file.clone(),
        config.grpc_tls_client_ca_file.clone(),
    )?;
    let authorities = config
        .replica_tls_ca_file
        .clone()
        .or(config.grpc_tls_client_ca_file.clone());
    let caller = match (files, authorities) {
        (Some(files), Some(authorities)) => Some(Caller::open(files, authorities, config.replica_tls_name.clone())?),
        (Some(_), None) => {
            return Err("replicas with TLS need REPLICA_TLS_CA_FILE or GRPC_TLS_CLIENT_CA_FILE".to_owned());
        }
        (None, _) => None,
    };
    Ok(Relay::new(address, caller))
}

fn redis(config: &Config) -> Result<Option<Endpoint>, String> {
    let tls = TlsFiles::of(
        config.redis_tls_ca_file.clone(),
        config.redis_tls_cert_file.clone(),
        config.redis_tls_key_file.clone(),
    )?;
    let url = config.redis_url.as_deref();
    url.map(|url| Endpoint::parse(url, tls)).transpose()
}

/// One way to the ConfigMap: what the kubelet has not brought up to date yet would undo what the API has shown.
fn follow_config_map(config: &Config, plane: &Arc<Plane>, stopped: &watch::Receiver<bool>) {
    let (plane, stopped) = (Arc::clone(plane), stopped.clone());
    match (&config.kube_config_map, &config.config_dir) {
        (Some(name), volume) => {
            if volume.is_some() {
                tracing::info!("KUBE_CONFIG_MAP is set: CONFIG_DIR is not read");
            }
            let source = api::Source {
                name: name.clone(),
                namespace: config.kube_namespace.clone(),
                write_back: config.kube_write_back,
            };
            tokio::spawn(api::follow(plane, source, stopped));
        }
        (None, Some(directory)) => {
            tokio::spawn(volume::watch(plane, directory.clone(), stopped));
        }
        (None, None) => {}
    }
}

fn tier_setup(config: &Config, redis: Option<Endpoint>) -> std::io::Result<Setup> {
    Ok(Setup {
        redis,
        key_prefix: config.redis_key_prefix.clone(),
        memory_bytes: config.tier_memory_mb << 20,
        keys: config.tier_key_file.clone().map(KeyFile::open).transpose()?,
        compress: !config.tier_uncompressed,
    })
}

fn receivers(config: &Config) -> Receivers {
    Receivers {
        webhook: config.alert_webhook_url.clone(),
        webhook_token_file: config.alert_webhook_token_file.clone(),
        pagerduty_key_file: config.pagerduty_routing_key_file.clone(),
        pagerduty_url: config.pagerduty_url.clone(),
        alertmanager: config.alertmanager_url.clone(),
        runbook: Some(config.runbook_url.clone()),
    }
}

/// TLS for REST and for gRPC, where there are certificates.
fn encryption(config: &Config) -> Result<(Option<Acceptor>, Option<Acceptor>), String> {
    let config = config.clone();
    let rest = Files::of(
        "REST",
        config.rest_tls_cert_file,
        config.rest_tls_key_file,
        config.rest_tls_client_ca_file,
    )?;
    let grpc = Files::of(
        "GRPC",
        config.grpc_tls_cert_file,
        config.grpc_tls_key_file,
        config.grpc_tls_client_ca_file,
    )?;
    let rest = rest.map(|files| Acceptor::open(files, &["h2", "http/1.1"]));
    let grpc = grpc.map(|files| Acceptor::open(files, &["h2"]));
    Ok((rest.transpose()?, grpc.transpose()?))
}

async fn listen(address: IpAddr, port: u16, name: &str) -> Result<TcpListener, String> {
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address} ({name}): {error}"))
}

async fn asked_to_stop() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
