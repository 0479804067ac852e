//! ECDS: the filter's code and configuration. Another module replaces the VMs and keeps the listener, its connections and, as
//! long as `vm_id` stays, the process-wide cache.

use super::{CONTROL, CONTROL_REST, Resource, file, millis, number};
use crate::xds::place::Source;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3::HeaderMutation;
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use envoy_types::pb::envoy::extensions::wasm::v3 as wasm;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, StringValue};
use envoy_types::util::pack_any;
use std::collections::HashMap;

/// Name of the filter in the chain, and of its resource.
pub(super) const FILTER: &str = "api_optimizer";
/// Names the shared data of the Envoy process: the same over all modules.
const VM: &str = "api_optimizer";

/// A module of some megabytes over a slow network.
const FETCH_MS: u64 = 30_000;

/// A native filter that does nothing stands in until there is a module: without one, Envoy answers everything with 500.
pub(super) fn stand_in() -> Any {
    pack_any(HeaderMutation::default())
}

/// Type URLs of what can stand in the filter's place.
pub(super) fn type_urls() -> Vec<String> {
    vec![pack_any(Wasm::default()).type_url, stand_in().type_url]
}

/// The filter, its code from a file of the Envoy's machine or from the control plane.
pub(in crate::xds) fn filter(source: &Source) -> Resource {
    Resource::new(FILTER, body(source, 0))
}

/// The same once more, of the same version but of other bytes: Envoy accepts a resource that it has refused and that comes again byte
/// for byte, and does not apply it.
pub(in crate::xds) fn filter_again(source: &Source, number: u64) -> Resource {
    Resource {
        body: body(source, number),
        ..filter(source)
    }
}

fn body(source: &Source, repetition: u64) -> Any {
    let code = match source {
        Source::File(path) => core::async_data_source::Specifier::Local(file(path)),
        Source::Module(sha256) => core::async_data_source::Specifier::Remote(core::RemoteDataSource {
            http_uri: Some(core::HttpUri {
                uri: format!("http://{CONTROL_REST}/filter/modules/{sha256}"),
                timeout: millis(FETCH_MS),
                http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(CONTROL_REST.to_owned())),
            }),
            sha256: sha256.clone(),
            retry_policy: Some(core::RetryPolicy {
                num_retries: number(2),
                ..Default::default()
            }),
        }),
    };
    let plugin = wasm::PluginConfig {
        name: FILTER.to_owned(),
        root_id: FILTER.to_owned(),
        failure_policy: wasm::FailurePolicy::FailReload.into(),
        reload_config: Some(wasm::ReloadConfig {
            backoff: Some(core::BackoffStrategy {
                base_interval: millis(100),
                max_interval: Some(second_and(repetition)),
            }),
        }),
        // So the filter sees the content of requests (`key_body`); the variable below tells it.
        allow_on_headers_stop_iteration: Some(BoolValue { value: true }),
        vm: Some(wasm::plugin_config::Vm::VmConfig(wasm::VmConfig {
            vm_id: VM.to_owned(),
            runtime: "envoy.wasm.runtime.v8".to_owned(),
            code: Some(core::AsyncDataSource { specifier: Some(code) }),
            // Modules that do not know of it do not look at it.
            environment_variables: Some(wasm::EnvironmentVariables {
                key_values: HashMap::from([("API_OPTIMIZER_REQUEST_CONTENT".to_owned(), "true".to_owned())]),
                ..Default::default()
            }),
            // By this name the filter tells the control plane that it runs. Modules that do not know of it do not look at it.
            configuration: module(source).map(|sha256| {
                pack_any(StringValue {
                    value: sha256.to_owned(),
                })
            }),
            // Until the code has come the present module goes on; without this, requests would pass it by.
            nack_on_code_cache_miss: true,
            ..Default::default()
        })),
        // Its settings come by the control stream.
        configuration: Some(pack_any(StringValue {
            value: format!("{{\"control_cluster\": \"{CONTROL}\"}}"),
        })),
        ..Default::default()
    };
    let config = core::TypedExtensionConfig {
        name: FILTER.to_owned(),
        typed_config: Some(pack_any(Wasm { config: Some(plugin) })),
    };
    pack_any(config)
}

fn module(source: &Source) -> Option<&str> {
    match source {
        Source::File(_) => None,
        Source::Module(sha256) => Some(sha256),
    }
}

/// Envoy's own limit, a second, but for less than a millisecond: it differs with the number, and nothing follows from that.
fn second_and(number: u64) -> Duration {
    Duration {
        seconds: 1,
        nanos: i32::try_from(number % 1_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repetition_has_bytes_of_its_own_and_the_same_version() {
        for source in [Source::File("/filter.wasm".to_owned()), Source::Module("0".to_owned())] {
            let first = filter(&source);
            let again = [filter_again(&source, 41), filter_again(&source, 42)];
            assert!(again.iter().all(|again| again.body != first.body));
            assert_ne!(again[0].body, again[1].body);
            assert!(again.iter().all(|again| again.version == first.version));
        }
    }
}
