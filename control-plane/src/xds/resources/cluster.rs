//! CDS: one cluster per upstream.
//!
//! `max_connections` is not in here but in the runtime layer: a changed cluster is built anew, and its idle
//! connections closed.

use super::{Resource, by_address, endpoint, from_here, millis, number, tls, truth, upstreams};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream_http;
use envoy_types::pb::envoy::r#type::v3::CodecClientType;
use envoy_types::util::pack_any;
use optimizer_proto::settings::{Http2, Settings, Upstream};
use std::collections::HashMap;
use upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig;
use upstream_http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};

/// Limits until the runtime layer has come, and without it for good. Never the setting: see above.
const CONNECTIONS: u32 = 1_024;
const PENDING: u32 = 1_024;
const REQUESTS: u32 = 102_400;

/// The clusters of all upstreams. `trusted_ca` is a file of the Envoy's machine.
pub(in crate::xds) fn clusters(settings: &Settings, trusted_ca: &str) -> Vec<Resource> {
    upstreams(settings)
        .map(|(name, upstream)| {
            let cluster = cluster(&name, upstream, &settings.http2, trusted_ca);
            Resource::new(name, pack_any(cluster))
        })
        .collect()
}

fn cluster(name: &str, upstream: &Upstream, http2: &Http2, trusted_ca: &str) -> Cluster {
    let by_address = by_address(upstream);
    let kind = if by_address {
        DiscoveryType::Eds
    } else {
        DiscoveryType::StrictDns
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        eds_cluster_config: by_address.then(|| EdsClusterConfig {
            eds_config: Some(from_here()),
            ..Default::default()
        }),
        load_assignment: (!by_address).then(|| endpoint::assignment(name, upstream)),
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        lb_policy: LbPolicy::LeastRequest.into(),
        connect_timeout: millis(upstream.connect_timeout_ms),
        circuit_breakers: Some(limits(http2)),
        // One entry only: the order of a map's entries would make the same cluster look changed.
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            pack_any(protocol(upstream, http2)),
        )]),
        upstream_connection_options: http2.keep_alive.then(|| UpstreamConnectionOptions {
            tcp_keepalive: Some(core::TcpKeepalive {
                keepalive_probes: number(3),
                keepalive_time: number(30),
                keepalive_interval: number(5),
            }),
            ..Default::default()
        }),
        upstream_bind_config: Some(core::BindConfig {
            socket_options: vec![no_delay(http2.tcp_no_delay)],
            ..Default::default()
        }),
        transport_socket: upstream.tls.then(|| tls::towards(upstream, trusted_ca)),
        health_checks: upstream
            .health_check_path
            .iter()
            .map(|path| health_check(path, upstream.http2))
            .collect(),
        outlier_detection: upstream.outlier_detection.then(outlier_detection),
        ..Default::default()
    }
}

fn limits(http2: &Http2) -> CircuitBreakers {
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: number(CONNECTIONS),
            max_pending_requests: number(PENDING),
            max_requests: number(REQUESTS),
            track_remaining: true,
            ..Default::default()
        }],
        per_host_thresholds: vec![Thresholds {
            max_connections: number(http2.max_connections_per_host),
            ..Default::default()
        }],
    }
}

fn protocol(upstream: &Upstream, http2: &Http2) -> upstream_http::HttpProtocolOptions {
    let config = if upstream.http2 {
        ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions {
            // WebSockets (RFC 8441).
            allow_connect: true,
            max_concurrent_streams: number(http2.max_concurrent_streams),
            connection_keepalive: http2.keep_alive.then(|| core::KeepaliveSettings {
                interval: millis(30_000),
                timeout: millis(5_000),
                ..Default::default()
            }),
            ..Default::default()
        })
    } else {
        ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions {
            allow_custom_methods: true,
            ..Default::default()
        })
    };
    upstream_http::HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: millis(http2.idle_timeout_ms),
            max_headers_count: number(200),
            ..Default::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(config),
        })),
        ..Default::default()
    }
}

/// Level 6 is TCP and name 1 is `TCP_NODELAY`, on Linux and the BSDs alike.
fn no_delay(on: bool) -> core::SocketOption {
    core::SocketOption {
        description: "TCP_NODELAY".to_owned(),
        level: 6,
        name: 1,
        state: core::socket_option::SocketState::StatePrebind.into(),
        value: Some(core::socket_option::Value::IntValue(on.into())),
        ..Default::default()
    }
}

/// As often without traffic as with it: the first request after a quiet hour must not find a dead endpoint.
fn health_check(path: &str, http2: bool) -> core::HealthCheck {
    let codec = if http2 {
        CodecClientType::Http2
    } else {
        CodecClientType::Http1
    };
    core::HealthCheck {
        timeout: millis(1_000),
        interval: millis(2_000),
        interval_jitter_percent: 10,
        no_traffic_interval: millis(2_000),
        unhealthy_threshold: number(3),
        healthy_threshold: number(2),
        health_checker: Some(core::health_check::HealthChecker::HttpHealthCheck(
            core::health_check::HttpHealthCheck {
                path: path.to_owned(),
                codec_client_type: codec.into(),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

/// Endpoints that cannot be reached or answer as a broken gateway. What an API says with 500 is its own affair, and that of the filter's breaker.
fn outlier_detection() -> OutlierDetection {
    OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_gateway_failure: number(5),
        enforcing_consecutive_gateway_failure: number(100),
        consecutive_local_origin_failure: number(5),
        enforcing_consecutive_local_origin_failure: number(100),
        enforcing_consecutive_5xx: number(0),
        enforcing_success_rate: number(0),
        enforcing_local_origin_success_rate: number(0),
        interval: millis(1_000),
        base_ejection_time: millis(10_000),
        // With less than half of them left, Envoy would use them all again.
        max_ejection_percent: number(50),
        always_eject_one_host: truth(false),
        ..Default::default()
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
