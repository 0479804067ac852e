//! What Envoy is told, as pure functions of the settings. One file per kind.

mod access_log;
mod cluster;
mod compression;
mod endpoint;
mod extension;
mod listener;
mod route;
mod runtime;
mod tls;
mod tracing;

pub(super) use cluster::clusters;
pub(super) use endpoint::assignments;
pub(super) use extension::{filter, filter_again};
pub(super) use listener::listener;
pub(super) use route::routes;
pub(super) use runtime::runtime;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value, Value, value};
use optimizer_proto::settings::{Endpoint, Settings, Upstream};
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

/// Name of the listener and of its routes.
const INGRESS: &str = "ingress";
/// Clusters of the control plane in the bootstrap, its gRPC and its REST. Envoy does not let another one of this name replace them.
const CONTROL: &str = "control_plane";
const CONTROL_REST: &str = "control_plane_rest";
/// Takes spans, in the bootstrap of an Envoy that is traced.
const COLLECTOR: &str = "otel_collector";

/// One resource with the version that tells its content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    pub(crate) name: String,
    /// Equal exactly where the content is, also after a restart of the control plane: an Envoy that returns is told
    /// only what has changed.
    pub(crate) version: String,
    pub(crate) body: Any,
}

impl Resource {
    /// A resource whose bytes tell its content: no map in `body` has more than one entry.
    fn new(name: impl Into<String>, body: Any) -> Self {
        let version = fingerprint(&[&body.value]);
        Self {
            name: name.into(),
            version,
            body,
        }
    }

    /// Bytes of its texts and its body.
    pub(super) fn bytes(&self) -> usize {
        self.name.len() + self.version.len() + self.body.type_url.len() + self.body.value.len()
    }

    /// A resource with maps, whose order in the bytes is any: `content` tells them apart.
    fn versioned_by(name: impl Into<String>, content: &[&[u8]], body: Any) -> Self {
        Self {
            name: name.into(),
            version: fingerprint(content),
            body,
        }
    }
}

/// Sixteen hexadecimal digits. The hash may be another one in a later build: then everything is sent once more.
pub(super) fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    format!("{:016x}", hasher.finish())
}

/// The cluster of an upstream: of the same name, but for those that are taken.
fn cluster_name(upstream: &str) -> String {
    if [CONTROL, CONTROL_REST, COLLECTOR].contains(&upstream) {
        // No upstream can have a dot in its name, so this one is free.
        return format!("{upstream}.upstream");
    }
    upstream.to_owned()
}

/// Whether all endpoints are addresses, so that they come by EDS and change without touching the cluster.
fn by_address(upstream: &Upstream) -> bool {
    upstream
        .endpoints
        .iter()
        .all(|endpoint| endpoint.address.host.parse::<IpAddr>().is_ok())
}

fn upstreams(settings: &Settings) -> impl Iterator<Item = (String, &Upstream)> {
    settings
        .upstreams
        .iter()
        .map(|upstream| (cluster_name(&upstream.name), upstream))
}

/// From the control plane, on the stream on which this came.
fn from_here() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

fn address(host: &str, port: u16) -> core::Address {
    let socket = core::SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}

fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}

fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    }
}

fn millis(ms: u64) -> Option<Duration> {
    Some(Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0),
    })
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn truth(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(value::Kind::StringValue(value.to_owned())),
    }
}

#[cfg(test)]
pub(in crate::xds) mod tests {
    use super::*;
    use serde_json::Value as Json;

    /// Checked settings of a document.
    pub(in crate::xds) fn settings(document: Json) -> Settings {
        Settings::parse(&document).unwrap().0
    }

    /// What `resource` holds.
    pub(in crate::xds) fn read<T: prost::Message + Default>(resource: &Resource) -> T {
        T::decode(resource.body.value.as_slice()).unwrap()
    }

    #[test]
    fn a_fingerprint_tells_contents_apart() {
        assert_eq!(fingerprint(&[b"a", b"b"]), fingerprint(&[b"a", b"b"]));
        assert_ne!(fingerprint(&[b"a", b"b"]), fingerprint(&[b"ab", b""]));
        assert_eq!(fingerprint(&[]).len(), 16);
    }

    #[test]
    fn no_upstream_takes_the_control_planes_place() {
        assert_eq!(cluster_name("origin"), "origin");
        assert_eq!(cluster_name("control_plane"), "control_plane.upstream");
        assert_eq!(cluster_name("otel_collector"), "otel_collector.upstream");
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(
            millis(1_500),
            Some(Duration {
                seconds: 1,
                nanos: 500_000_000
            })
        );
    }
}
