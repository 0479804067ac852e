//! RTDS: limits and switches that change without rebuilding a cluster or draining a listener.

use super::{Resource, compression, upstreams};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use envoy_types::util::pack_any;
use optimizer_proto::settings::{Settings, Upstream};
use std::collections::BTreeMap;

/// Name of the runtime layer, as in the bootstrap.
pub(in crate::xds) const LAYER: &str = "api_optimizer";

/// Least queue of requests that wait for a connection.
const PENDING: u32 = 1_024;

/// The one layer.
pub(in crate::xds) fn runtime(settings: &Settings) -> Resource {
    let values = values(settings);
    let content = format!("{values:?}");
    let layer = Runtime {
        name: LAYER.to_owned(),
        layer: Some(Struct {
            fields: values.into_iter().collect(),
        }),
    };
    Resource::versioned_by(LAYER, &[content.as_bytes()], pack_any(layer))
}

fn values(settings: &Settings) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for (cluster, upstream) in upstreams(settings) {
        for (limit, value) in limits(settings, upstream) {
            let key = format!("circuit_breakers.{cluster}.default.{limit}");
            values.insert(key, of(value::Kind::NumberValue(value.into())));
        }
    }
    let compression = of(value::Kind::BoolValue(settings.http2.compression));
    values.insert(compression::SWITCH.to_owned(), compression);
    values
}

/// Connections are what is limited. Envoy opens one per worker and endpoint even above the limit; its limit of requests
/// is therefore wide enough never to refuse what a connection could take.
fn limits(settings: &Settings, upstream: &Upstream) -> [(&'static str, u32); 3] {
    let connections = settings.max_connections;
    let pending = connections.max(PENDING);
    let streams = if upstream.http2 {
        settings.http2.max_concurrent_streams
    } else {
        1
    };
    let requests = connections.saturating_mul(streams).saturating_add(pending);
    [
        ("max_connections", connections),
        ("max_pending_requests", pending),
        ("max_requests", requests),
    ]
}

fn of(kind: value::Kind) -> Value {
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::clusters;
    use crate::xds::resources::tests::{read, settings};
    use serde_json::json;

    fn with(max_connections: u32) -> Settings {
        settings(json!({"max_connections": max_connections, "upstreams": [
            {"name": "one", "endpoints": [{"address": "192.0.2.1:80"}]},
            {"name": "two", "endpoints": [{"address": "192.0.2.1:81"}], "http2": true},
        ]}))
    }

    #[test]
    fn every_upstream_has_its_limits() {
        let layer: Runtime = read(&runtime(&with(7)));
        assert_eq!(layer.name, LAYER);
        let fields = layer.layer.unwrap().fields;
        let number = |key: &str| match &fields[key].kind {
            Some(value::Kind::NumberValue(number)) => *number as u32,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(number("circuit_breakers.one.default.max_connections"), 7);
        assert_eq!(number("circuit_breakers.one.default.max_pending_requests"), 1_024);
        assert_eq!(number("circuit_breakers.one.default.max_requests"), 7 + 1_024);
        assert_eq!(number("circuit_breakers.two.default.max_requests"), 700 + 1_024);
        assert_eq!(fields.len(), 7);
        assert_eq!(
            fields["api_optimizer.compression"].kind,
            Some(value::Kind::BoolValue(false))
        );
    }

    #[test]
    fn max_connections_changes_the_layer_and_no_cluster() {
        assert_eq!(runtime(&with(7)).version, runtime(&with(7)).version);
        assert_ne!(runtime(&with(7)).version, runtime(&with(8)).version);
        assert_eq!(clusters(&with(7), "/ca.crt"), clusters(&with(8), "/ca.crt"));
    }
}
