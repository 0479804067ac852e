//! Compression towards clients, on and off by the runtime layer: another filter chain would drain the listener.

use super::{number, truth};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::Compressor;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, ResponseDirectionConfig,
};
use envoy_types::util::pack_any;

/// Key of the runtime layer that switches it.
pub(super) const SWITCH: &str = "api_optimizer.compression";

/// Smaller content fits into one packet anyway.
const LEAST: u32 = 1_024;

/// The filter. Before the cache in the chain, so behind it for responses: what is stored is as the upstream sent it. `weakens_tags`: for an
/// Envoy that knows how; others take a strong tag off.
pub(super) fn compressor(weakens_tags: bool) -> Compressor {
    Compressor {
        compressor_library: Some(core::TypedExtensionConfig {
            name: "gzip".to_owned(),
            typed_config: Some(pack_any(Gzip::default())),
        }),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: Some(CommonDirectionConfig {
                enabled: Some(core::RuntimeFeatureFlag {
                    default_value: truth(false),
                    runtime_key: SWITCH.to_owned(),
                }),
                min_content_length: number(LEAST),
                ..Default::default()
            }),
            // A strong entity tag promises the same bytes; the compressed ones still validate by a weak one.
            weaken_etag_on_compress: weakens_tags,
            // A range has its place in the content as the origin sent it (RFC 9110 section 15.3.7).
            uncompressible_response_codes: vec![206],
            ..Default::default()
        }),
        ..Default::default()
    }
}
