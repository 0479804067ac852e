//! EDS: where the upstreams listen.

use super::{Resource, address, by_address, number, upstreams};
use envoy_types::pb::envoy::config::endpoint::v3 as eds;
use envoy_types::util::pack_any;
use optimizer_proto::settings::{Endpoint, Settings, Upstream};

/// The endpoints of all upstreams that are given by address. Those with a DNS name have theirs in the cluster.
pub(in crate::xds) fn assignments(settings: &Settings) -> Vec<Resource> {
    upstreams(settings)
        .filter(|(_, upstream)| by_address(upstream))
        .map(|(name, upstream)| {
            let assignment = assignment(&name, upstream);
            Resource::new(name, pack_any(assignment))
        })
        .collect()
}

/// All endpoints in one locality: their weights are relative to each other.
pub(super) fn assignment(cluster: &str, upstream: &Upstream) -> eds::ClusterLoadAssignment {
    eds::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![eds::LocalityLbEndpoints {
            lb_endpoints: upstream.endpoints.iter().map(endpoint).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn endpoint(endpoint: &Endpoint) -> eds::LbEndpoint {
    let place = eds::Endpoint {
        address: Some(address(&endpoint.address.host, endpoint.address.port)),
        // The Host of health checks.
        health_check_config: Some(eds::endpoint::HealthCheckConfig {
            hostname: endpoint.address.host.clone(),
            ..Default::default()
        }),
        hostname: endpoint.address.host.clone(),
        ..Default::default()
    };
    eds::LbEndpoint {
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(place)),
        load_balancing_weight: number(endpoint.weight),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::tests::{read, settings};
    use serde_json::json;

    #[test]
    fn addresses_come_by_eds_and_names_do_not() {
        let settings = settings(json!({"upstreams": [
            {"name": "named", "endpoints": [{"address": "api.example:443"}, {"address": "192.0.2.1:80"}]},
            {"name": "numbered", "endpoints": [{"address": "192.0.2.1:80", "weight": 3}, {"address": "[2001:db8::1]:81"}]},
        ]}));
        let resources = assignments(&settings);
        assert_eq!(resources.len(), 1);
        assert_eq!(resources[0].name, "numbered");
        let assignment: eds::ClusterLoadAssignment = read(&resources[0]);
        let endpoints = &assignment.endpoints[0].lb_endpoints;
        let weights: Vec<_> = endpoints
            .iter()
            .map(|endpoint| endpoint.load_balancing_weight)
            .collect();
        assert_eq!(weights, [number(3), number(1)]);
        let Some(eds::lb_endpoint::HostIdentifier::Endpoint(second)) = &endpoints[1].host_identifier else {
            panic!("no endpoint")
        };
        assert_eq!(second.address, Some(address("2001:db8::1", 81)));
    }

    #[test]
    fn a_weight_changes_the_version() {
        let with = |weight: u32| {
            let upstream = json!({"name": "a", "endpoints": [{"address": "192.0.2.1:80", "weight": weight}]});
            assignments(&settings(json!({ "upstreams": [upstream] })))
        };
        assert_eq!(with(1), with(1));
        assert_ne!(with(1)[0].version, with(2)[0].version);
    }
}
