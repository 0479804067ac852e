//! TLS towards an upstream.

use super::{Endpoint, Upstream, by_address, file, inline};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::util::pack_any;

/// A socket that accepts no certificate but one for the endpoint, signed by an authority of the upstream's, or in the file
/// `trusted_ca` of the Envoy's machine.
///
/// Endpoints with DNS names are asked for by name (SNI), and must prove that name. IP addresses cannot be asked for; a
/// certificate must then be for one of the upstream's addresses. Where both are mixed an address proves nothing, and is
/// not connected to.
pub(super) fn towards(upstream: &Upstream, trusted_ca: &str) -> core::TransportSocket {
    let trusted_ca = match &upstream.trusted_ca {
        Some(certificates) => inline(certificates),
        None => file(trusted_ca),
    };
    let protocol = if upstream.http2 { "h2" } else { "http/1.1" };
    let by_name = !by_address(upstream);
    let context = tls::UpstreamTlsContext {
        auto_host_sni: by_name,
        auto_sni_san_validation: by_name,
        common_tls_context: Some(tls::CommonTlsContext {
            alpn_protocols: vec![protocol.to_owned()],
            validation_context_type: Some(tls::common_tls_context::ValidationContextType::ValidationContext(
                tls::CertificateValidationContext {
                    trusted_ca: Some(trusted_ca),
                    match_typed_subject_alt_names: if by_name { Vec::new() } else { addresses(upstream) },
                    ..Default::default()
                },
            )),
            ..Default::default()
        }),
        ..Default::default()
    };
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}

fn addresses(upstream: &Upstream) -> Vec<tls::SubjectAltNameMatcher> {
    let matcher = |endpoint: &Endpoint| tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::IpAddress.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(endpoint.address.host.clone())),
            ..Default::default()
        }),
        ..Default::default()
    };
    upstream.endpoints.iter().map(matcher).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::tests::settings;
    use prost::Message;
    use serde_json::json;

    fn context(address: &str) -> tls::UpstreamTlsContext {
        let upstream = json!({"name": "a", "endpoints": [{"address": address}], "tls": true, "http2": true});
        let settings = settings(json!({ "upstreams": [upstream] }));
        let socket = towards(&settings.upstreams[0], "/ca.crt");
        let Some(core::transport_socket::ConfigType::TypedConfig(any)) = socket.config_type else {
            panic!("no configuration")
        };
        tls::UpstreamTlsContext::decode(any.value.as_slice()).unwrap()
    }

    fn sans(context: &tls::UpstreamTlsContext) -> usize {
        match &context.common_tls_context.as_ref().unwrap().validation_context_type {
            Some(tls::common_tls_context::ValidationContextType::ValidationContext(validation)) => {
                assert!(validation.trusted_ca.is_some());
                validation.match_typed_subject_alt_names.len()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_is_asked_for_and_must_be_proved() {
        let context = context("api.example:443");
        assert!(context.auto_host_sni && context.auto_sni_san_validation);
        assert_eq!(sans(&context), 0);
        assert_eq!(context.common_tls_context.unwrap().alpn_protocols, ["h2"]);
    }

    #[test]
    fn an_address_must_be_proved_too() {
        let context = context("192.0.2.1:443");
        assert!(!context.auto_host_sni && !context.auto_sni_san_validation);
        assert_eq!(sans(&context), 1);
    }
}
