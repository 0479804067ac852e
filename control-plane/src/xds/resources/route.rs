//! RDS: which upstream a request goes to. The same choice as the filter's: the first route of the list whose host and path
//! prefix fit.

use super::{INGRESS, Resource, cluster_name, millis, number};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::route::v3 as rds;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use envoy_types::util::pack_any;
use optimizer_proto::settings::Settings;
use std::collections::BTreeSet;

/// Until a response begins; the whole of it has no limit. As in `envoy/static.yaml`.
const RESPONSE_HEAD_MS: u64 = 60_000;
/// Name of the route for what no route of the settings fits. None of theirs has a dot in its name.
const DEFAULT: &str = "default.route";

/// The one route table.
pub(in crate::xds) fn routes(settings: &Settings) -> Resource {
    let mut hosts: BTreeSet<&str> = settings.routes.iter().map(|route| host_of(&route.host)).collect();
    hosts.insert("*");
    let table = rds::RouteConfiguration {
        name: INGRESS.to_owned(),
        // Envoy takes the host that fits best, whatever the order.
        virtual_hosts: hosts.into_iter().map(|host| virtual_host(host, settings)).collect(),
        ignore_port_in_host_matching: true,
        ..Default::default()
    };
    Resource::new(INGRESS, pack_any(table))
}

/// A host pattern without its port, which routes do not look at. An IPv6 literal keeps its brackets.
fn host_of(pattern: &str) -> &str {
    match pattern.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => pattern,
    }
}

/// Whether every host that fits `narrow` fits `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        None => wide == narrow,
        Some(suffix) => wide == narrow || narrow.ends_with(suffix),
    }
}

fn virtual_host(host: &str, settings: &Settings) -> rds::VirtualHost {
    let own = settings
        .routes
        .iter()
        .filter(|route| covers(host_of(&route.host), host));
    let mut routes: Vec<rds::Route> = own
        .map(|route| {
            let cluster = target(route.upstream.as_deref(), settings);
            towards(&route.name, &route.path_prefix, cluster)
        })
        .collect();
    routes.push(towards(DEFAULT, "/", target(None, settings)));
    rds::VirtualHost {
        name: host.to_owned(),
        domains: vec![host.to_owned()],
        routes,
        retry_policy: Some(rds::RetryPolicy {
            // What never reached an upstream may be sent again, whatever its method.
            retry_on: "connect-failure,refused-stream,reset-before-request".to_owned(),
            num_retries: number(2),
            // At another endpoint than before, while there is one: a dead one has the fewest requests under way.
            retry_host_predicate: vec![not_the_same_host()],
            host_selection_retry_max_attempts: 10,
            per_try_timeout: millis(RESPONSE_HEAD_MS),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn not_the_same_host() -> rds::retry_policy::RetryHostPredicate {
    rds::retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(rds::retry_policy::retry_host_predicate::ConfigType::TypedConfig(
            pack_any(PreviousHostsPredicate {}),
        )),
    }
}

/// The cluster of a route; the first upstream where it names none; `None` without upstreams.
fn target(upstream: Option<&str>, settings: &Settings) -> Option<String> {
    let first = || settings.upstreams.first().map(|upstream| upstream.name.as_str());
    upstream.or_else(first).map(cluster_name)
}

/// The route of the settings that is called `name`, so that the filter can tell routes apart; it has that name on every host.
fn towards(name: &str, prefix: &str, cluster: Option<String>) -> rds::Route {
    let action = match cluster {
        Some(cluster) => rds::route::Action::Route(rds::RouteAction {
            // None: event streams and long downloads end when they end, or after the idle time-out of the listener.
            timeout: millis(0),
            cluster_specifier: Some(rds::route_action::ClusterSpecifier::Cluster(cluster)),
            ..Default::default()
        }),
        None => rds::route::Action::DirectResponse(rds::DirectResponseAction {
            status: 503,
            ..Default::default()
        }),
    };
    rds::Route {
        name: name.to_owned(),
        r#match: Some(rds::RouteMatch {
            path_specifier: Some(rds::route_match::PathSpecifier::Prefix(prefix.to_owned())),
            ..Default::default()
        }),
        action: Some(action),
        metadata: Some(without_response_header_rules()),
        ..Default::default()
    }
}

/// Tells the filter that neither the route nor what it stands in adds fields to responses.
fn without_response_header_rules() -> Metadata {
    let says_no = Value {
        kind: Some(value::Kind::BoolValue(false)),
    };
    let metadata = Struct {
        fields: [("response_header_rules".to_owned(), says_no)].into(),
    };
    Metadata {
        filter_metadata: [("api_optimizer".to_owned(), metadata)].into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::tests::{read, settings};
    use serde_json::json;

    /// Host, then path prefix and cluster of its routes in order; no cluster = answered by Envoy.
    fn table(document: serde_json::Value) -> Vec<(String, Vec<(String, String)>)> {
        let table: rds::RouteConfiguration = read(&routes(&settings(document)));
        let line = |route: &rds::Route| {
            let rds::route_match::PathSpecifier::Prefix(prefix) =
                route.r#match.as_ref().unwrap().path_specifier.clone().unwrap()
            else {
                panic!("no prefix")
            };
            let cluster = match route.action.as_ref().unwrap() {
                rds::route::Action::Route(action) => match action.cluster_specifier.as_ref().unwrap() {
                    rds::route_action::ClusterSpecifier::Cluster(name) => name.clone(),
                    other => panic!("{other:?}"),
                },
                _ => String::new(),
            };
            (prefix, cluster)
        };
        let host = |host: &rds::VirtualHost| (host.domains[0].clone(), host.routes.iter().map(line).collect());
        table.virtual_hosts.iter().map(host).collect()
    }

    fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_host_has_the_routes_that_fit_it_in_the_order_of_the_document() {
        let upstream = |name: &str| json!({"name": name, "endpoints": [{"address": "192.0.2.1:80"}]});
        let table = table(json!({
            "upstreams": [upstream("one"), upstream("two"), upstream("three")],
            "routes": [
                {"name": "a", "host": "api.shop.example:8443", "path_prefix": "/v1", "upstream": "two"},
                {"name": "b", "host": "*.shop.example", "upstream": "three"},
                {"name": "c", "path_prefix": "/all"},
            ],
        }));
        let every = [("/all", "one"), ("/", "one")];
        assert_eq!(
            table,
            [
                ("*".to_owned(), lines(&every)),
                (
                    "*.shop.example".to_owned(),
                    lines(&[&[("/", "three")], &every[..]].concat())
                ),
                (
                    "api.shop.example".to_owned(),
                    lines(&[&[("/v1", "two"), ("/", "three")], &every[..]].concat())
                ),
            ]
        );
    }

    #[test]
    fn without_upstreams_envoy_answers_itself() {
        assert_eq!(table(json!({})), [("*".to_owned(), lines(&[("/", "")]))]);
    }

    #[test]
    fn a_route_is_called_as_in_the_settings_on_every_host() {
        let document = json!({"routes": [{"name": "a", "host": "shop.example"}, {"name": "b", "path_prefix": "/b"}]});
        let table: rds::RouteConfiguration = read(&routes(&settings(document)));
        let names =
            |host: &rds::VirtualHost| -> Vec<String> { host.routes.iter().map(|route| route.name.clone()).collect() };
        let all: Vec<_> = table.virtual_hosts.iter().map(names).collect();
        assert_eq!(all, [vec!["b", DEFAULT], vec!["a", "b", DEFAULT]]);
    }

    #[test]
    fn ports_are_no_part_of_a_host() {
        for (pattern, host) in [("a:80", "a"), ("*", "*"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")] {
            assert_eq!(host_of(pattern), host);
        }
    }
}
