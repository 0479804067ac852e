//! LDS: the listener. Nothing in it comes from the settings, so that no change of settings drains it: routes come by RDS, the
//! filter by ECDS, and compression is switched by the runtime layer.

use super::{
    INGRESS, Resource, access_log, address, compression, extension, from_here, millis, number, tracing, truth,
};
use crate::xds::place::Place;
use core::http_protocol_options::HeadersWithUnderscoresAction as Underscores;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as lds;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use hcm::http_connection_manager as manager;

/// The one listener of an Envoy. `filtered`: with the filter, whose configuration comes by ECDS.
pub(in crate::xds) fn listener(place: &Place, filtered: bool) -> Resource {
    let manager = connection_manager(place, filtered);
    let content = content(place, &manager);
    let listener = lds::Listener {
        name: INGRESS.to_owned(),
        address: Some(address(&place.listen_host, place.listen_port)),
        per_connection_buffer_limit_bytes: number(1 << 20),
        filter_chains: vec![lds::FilterChain {
            filters: vec![lds::Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(lds::filter::ConfigType::TypedConfig(pack_any(manager))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    Resource::versioned_by(INGRESS, &[content.as_slice()], pack_any(listener))
}

/// What tells listeners apart, also those of another build of the control plane. The access log is left out, as its format is a map, and
/// told by the place.
fn content(place: &Place, manager: &hcm::HttpConnectionManager) -> Vec<u8> {
    let unlogged = hcm::HttpConnectionManager {
        access_log: Vec::new(),
        ..manager.clone()
    };
    let mut content = format!("{place:?}").into_bytes();
    content.extend(pack_any(unlogged).value);
    content
}

/// As in `envoy/static.yaml`, where the reasons stand.
fn connection_manager(place: &Place, filtered: bool) -> hcm::HttpConnectionManager {
    hcm::HttpConnectionManager {
        stat_prefix: INGRESS.to_owned(),
        use_remote_address: truth(true),
        preserve_external_request_id: true,
        normalize_path: truth(true),
        merge_slashes: true,
        path_with_escaped_slashes_action: manager::PathWithEscapedSlashesAction::KeepUnchanged.into(),
        server_header_transformation: manager::ServerHeaderTransformation::PassThrough.into(),
        max_request_headers_kb: number(128),
        proxy_100_continue: true,
        http_protocol_options: Some(core::Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: INGRESS.to_owned(),
            allow_custom_methods: true,
            ..Default::default()
        }),
        http2_protocol_options: Some(core::Http2ProtocolOptions {
            allow_connect: true,
            max_concurrent_streams: number(128),
            initial_stream_window_size: number(256 << 10),
            initial_connection_window_size: number(1 << 20),
            ..Default::default()
        }),
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: millis(900_000),
            max_headers_count: number(200),
            headers_with_underscores_action: Underscores::RejectRequest.into(),
            ..Default::default()
        }),
        upgrade_configs: vec![manager::UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
        stream_idle_timeout: millis(300_000),
        request_timeout: millis(120_000),
        request_headers_timeout: millis(10_000),
        delayed_close_timeout: millis(1_000),
        access_log: access_log::file(&place.access_log).into_iter().collect(),
        tracing: place.traced.map(tracing::to_collector),
        request_id_extension: place.traced.map(|_| tracing::plain_request_ids()),
        http_filters: filters(place, filtered),
        route_specifier: Some(manager::RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(from_here()),
            route_config_name: INGRESS.to_owned(),
        })),
        ..Default::default()
    }
}

fn filters(place: &Place, filtered: bool) -> Vec<hcm::HttpFilter> {
    let typed = |name: &str, config: Any| hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let mut filters = vec![typed(
        "envoy.filters.http.compressor",
        pack_any(compression::compressor(place.weakens_tags)),
    )];
    if filtered {
        filters.push(hcm::HttpFilter {
            name: extension::FILTER.to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::ConfigDiscovery(
                core::ExtensionConfigSource {
                    config_source: Some(from_here()),
                    default_config: Some(extension::stand_in()),
                    type_urls: extension::type_urls(),
                    ..Default::default()
                },
            )),
            ..Default::default()
        });
    }
    filters.push(typed("envoy.filters.http.router", pack_any(Router::default())));
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::tests::read;
    use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::Compressor;

    fn manager(resource: &Resource) -> hcm::HttpConnectionManager {
        let listener: lds::Listener = read(resource);
        let Some(lds::filter::ConfigType::TypedConfig(any)) = &listener.filter_chains[0].filters[0].config_type else {
            panic!("no configuration")
        };
        prost::Message::decode(any.value.as_slice()).unwrap()
    }

    #[test]
    fn the_compressor_stands_before_the_cache() {
        let names = |filtered| -> Vec<String> {
            let manager = manager(&listener(&Place::default(), filtered));
            manager.http_filters.into_iter().map(|filter| filter.name).collect()
        };
        assert_eq!(
            names(true),
            [
                "envoy.filters.http.compressor",
                "api_optimizer",
                "envoy.filters.http.router"
            ]
        );
        assert_eq!(names(false).len(), 2);
    }

    #[test]
    fn an_envoy_that_cannot_weaken_tags_is_not_told_to() {
        let weakens = |weakens_tags| {
            let place = Place {
                weakens_tags,
                ..Place::default()
            };
            let filters = manager(&listener(&place, true)).http_filters;
            let Some(hcm::http_filter::ConfigType::TypedConfig(any)) = &filters[0].config_type else {
                panic!("no compressor")
            };
            let compressor: Compressor = prost::Message::decode(any.value.as_slice()).unwrap();
            compressor.response_direction_config.unwrap().weaken_etag_on_compress
        };
        assert_eq!([weakens(true), weakens(false)], [true, false]);
    }

    #[test]
    fn another_build_makes_another_version() {
        let place = Place::default();
        let mut manager = connection_manager(&place, true);
        let present = content(&place, &manager);
        assert_eq!(content(&place, &connection_manager(&place, true)), present);
        manager.merge_slashes = false;
        assert_ne!(content(&place, &manager), present);
    }

    #[test]
    fn its_version_tells_the_place() {
        let version = |place: &Place| listener(place, true).version;
        let elsewhere = Place {
            listen_port: 8_080,
            ..Place::default()
        };
        assert_eq!(version(&Place::default()), version(&Place::default()));
        assert_ne!(version(&Place::default()), version(&elsewhere));
    }
}
