//! Spans of requests, to a cluster of the Envoy's own bootstrap. As in `envoy/static.yaml`, where the reasons stand.

use super::{COLLECTOR, millis, truth};
use envoy_types::pb::envoy::config::core::v3::{GrpcService, grpc_service};
use envoy_types::pb::envoy::config::trace::v3::OpenTelemetryConfig;
use envoy_types::pb::envoy::config::trace::v3::tracing::{Http, http};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use envoy_types::pb::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::util::pack_any;
use hcm::http_connection_manager::Tracing;

/// Attributes beside Envoy's own. The first takes the place of one with the query string.
const TAGS: [(&str, &str); 5] = [
    ("http.url", "%REQ(:SCHEME)%://%REQ(:AUTHORITY):255%%PATH(NQ):1024%"),
    ("http.route", "%ROUTE_NAME%"),
    ("optimizer.cache_status", "%RESP(CACHE-STATUS):1024%"),
    ("optimizer.breaker", "%FILTER_STATE(wasm.api_optimizer.breaker:PLAIN)%"),
    ("optimizer.details", "%RESPONSE_CODE_DETAILS%"),
];

/// Of requests for which nobody in front has decided, so many hundredths of a percent.
pub(super) fn to_collector(hundredths: u16) -> Tracing {
    let target = grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
        cluster_name: COLLECTOR.to_owned(),
        ..Default::default()
    });
    let tracer = OpenTelemetryConfig {
        grpc_service: Some(GrpcService {
            target_specifier: Some(target),
            timeout: millis(1_000),
            ..Default::default()
        }),
        service_name: "api-optimizer-envoy".to_owned(),
        ..Default::default()
    };
    Tracing {
        random_sampling: Some(Percent {
            value: f64::from(hundredths) / 100.0,
        }),
        spawn_upstream_span: truth(true),
        operation: "%REQ(:METHOD):32% %ROUTE_NAME%".to_owned(),
        custom_tags: TAGS.map(tag).to_vec(),
        provider: Some(Http {
            name: "envoy.tracers.opentelemetry".to_owned(),
            config_type: Some(http::ConfigType::TypedConfig(pack_any(tracer))),
        }),
        ..Default::default()
    }
}

fn tag((name, value): (&str, &str)) -> CustomTag {
    CustomTag {
        tag: name.to_owned(),
        r#type: Some(custom_tag::Type::Value(value.to_owned())),
    }
}

/// Ids of requests stay as clients sent them: Envoy would write into them whether it traces.
pub(super) fn plain_request_ids() -> hcm::RequestIdExtension {
    let plain = UuidRequestIdConfig {
        pack_trace_reason: truth(false),
        ..Default::default()
    };
    hcm::RequestIdExtension {
        typed_config: Some(pack_any(plain)),
    }
}
