//! Turns the configuration into the arguments with which the services are opened.

use super::config::Config;
use crate::alerts::Receivers;
use crate::host::system;
use crate::net::calling::Caller;
use crate::net::tls::{Acceptor, Files};
use crate::redis::{Endpoint, TlsFiles};
use crate::replication::Relay;
use crate::tier::{KeyFile, Setup};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// How other replicas are told to reach this one, and how they are called.
pub(super) fn relay(config: &Config, listening: IpAddr, port: u16) -> Result<Relay, String> {
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

pub(super) fn redis(config: &Config) -> Result<Option<Endpoint>, String> {
    let tls = TlsFiles::of(
        config.redis_tls_ca_file.clone(),
        config.redis_tls_cert_file.clone(),
        config.redis_tls_key_file.clone(),
    )?;
    let url = config.redis_url.as_deref();
    url.map(|url| Endpoint::parse(url, tls)).transpose()
}

pub(super) fn tier_setup(config: &Config, redis: Option<Endpoint>) -> std::io::Result<Setup> {
    let keys = config.tier_key_file.clone().map(KeyFile::open);
    Ok(Setup {
        redis,
        key_prefix: config.redis_key_prefix.clone(),
        memory_bytes: config.tier_memory_mb << 20,
        keys: keys.transpose().map_err(std::io::Error::other)?,
        compress: !config.tier_uncompressed,
    })
}

pub(super) fn receivers(config: &Config) -> Receivers {
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
pub(super) fn encryption(config: &Config) -> Result<(Option<Acceptor>, Option<Acceptor>), String> {
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
