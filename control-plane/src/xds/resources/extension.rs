//! ECDS: the filter's code and configuration. Another module replaces the VMs and keeps the listener, its connections and, as
//! long as `vm_id` stays, the process-wide cache.

use super::{CONTROL, CONTROL_REST, Resource, file, millis, number};
use crate::xds::place::Source;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use envoy_types::pb::envoy::extensions::wasm::v3 as wasm;
use envoy_types::pb::google::protobuf::StringValue;
use envoy_types::util::pack_any;

/// Name of the filter in the chain, and of its resource.
pub(super) const FILTER: &str = "api_optimizer";
/// Names the shared data of the Envoy process: the same over all modules.
const VM: &str = "api_optimizer";

/// A module of some megabytes over a slow network.
const FETCH_MS: u64 = 30_000;

/// Type URL of what the resource holds.
pub(super) fn type_url() -> String {
    pack_any(Wasm::default()).type_url
}

/// The filter, its code from a file of the Envoy's machine or from the control plane.
pub(in crate::xds) fn filter(source: &Source) -> Resource {
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
                ..Default::default()
            }),
        }),
        vm: Some(wasm::plugin_config::Vm::VmConfig(wasm::VmConfig {
            vm_id: VM.to_owned(),
            runtime: "envoy.wasm.runtime.v8".to_owned(),
            code: Some(core::AsyncDataSource { specifier: Some(code) }),
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
    Resource::new(FILTER, pack_any(config))
}
