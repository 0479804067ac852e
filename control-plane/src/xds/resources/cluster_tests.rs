use super::*;
use crate::xds::resources::tests::{read, settings};
use serde_json::json;

fn cluster_of(document: serde_json::Value) -> Cluster {
    read(&clusters(&settings(document), "/ca.crt")[0])
}

fn protocol_of(cluster: &Cluster) -> upstream_http::HttpProtocolOptions {
    let any = cluster.typed_extension_protocol_options.values().next().unwrap();
    prost::Message::decode(any.value.as_slice()).unwrap()
}

fn of_profile(name: &str, http2: bool) -> Cluster {
    let mut document = optimizer_proto::settings::profile(name).unwrap();
    document["upstreams"] = json!([{"name": "a", "endpoints": [{"address": "192.0.2.1:80"}], "http2": http2}]);
    cluster_of(document)
}

#[test]
fn names_are_resolved_by_envoy_and_addresses_come_by_eds() {
    let by = |address: &str| {
        cluster_of(json!({"upstreams": [{"name": "a", "endpoints": [{"address": address}]}]})).cluster_discovery_type
    };
    let kind = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind.into()));
    assert_eq!(by("192.0.2.1:80"), kind(DiscoveryType::Eds));
    assert_eq!(by("[2001:db8::1]:80"), kind(DiscoveryType::Eds));
    assert_eq!(by("api.example:80"), kind(DiscoveryType::StrictDns));
}

#[test]
fn a_profile_is_what_its_cluster_says() {
    for (name, per_host, streams, idle_s) in [
        ("high_concurrency", 30, 200, 60),
        ("low_latency", 10, 50, 30),
        ("bandwidth_optimized", 5, 100, 120),
    ] {
        let cluster = of_profile(name, true);
        let limits = &cluster.circuit_breakers.as_ref().unwrap().per_host_thresholds[0];
        assert_eq!(limits.max_connections, number(per_host), "{name}");
        let options = protocol_of(&cluster);
        assert_eq!(
            options.common_http_protocol_options.unwrap().idle_timeout,
            millis(idle_s * 1_000),
            "{name}"
        );
        let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) = options.upstream_protocol_options else {
            panic!("no protocol")
        };
        let Some(ProtocolConfig::Http2ProtocolOptions(http2)) = explicit.protocol_config else {
            panic!("no HTTP/2")
        };
        assert!(
            http2.connection_keepalive.is_some() && http2.max_concurrent_streams == number(streams),
            "{name}"
        );
        assert!(
            cluster.upstream_connection_options.unwrap().tcp_keepalive.is_some(),
            "{name}"
        );
    }
}

#[test]
fn what_is_switched_off_is_not_there() {
    let bare = cluster_of(json!({
        "http2": {"keep_alive": false},
        "upstreams": [{"name": "a", "endpoints": [{"address": "192.0.2.1:80"}], "outlier_detection": false}],
    }));
    assert!(bare.upstream_connection_options.is_none() && bare.outlier_detection.is_none());
    assert!(bare.health_checks.is_empty() && bare.transport_socket.is_none());
    let full = cluster_of(json!({"upstreams": [
        {"name": "a", "endpoints": [{"address": "192.0.2.1:80"}], "health_check_path": "/health", "tls": true},
    ]}));
    assert!(full.outlier_detection.is_some() && full.transport_socket.is_some());
    assert_eq!(full.health_checks.len(), 1);
}

#[test]
fn the_same_settings_make_the_same_version() {
    let version = || {
        let document = json!({"upstreams": [{"name": "a", "endpoints": [{"address": "192.0.2.1:80"}], "tls": true}]});
        clusters(&settings(document), "/ca.crt")[0].version.clone()
    };
    assert_eq!(version(), version());
}
