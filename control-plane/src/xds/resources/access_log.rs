//! The access log: one JSON line a request, with what the cache and the breaker did.

use super::text;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log::ConfigType};
use envoy_types::pb::envoy::config::core::v3::{SubstitutionFormatString, substitution_format_string};
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use envoy_types::pb::google::protobuf::Struct;
use envoy_types::util::pack_any;

/// Name and content of the fields, as in `envoy/static.yaml`.
const FIELDS: [(&str, &str); 16] = [
    ("time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("duration_ms", "%DURATION%"),
    ("bytes", "%BYTES_SENT%"),
    ("cache_status", "%RESP(CACHE-STATUS)%"),
    ("breaker", "%FILTER_STATE(wasm.api_optimizer.breaker:PLAIN)%"),
    ("upstream", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
];

/// A log in the file `path`; none without one.
pub(super) fn file(path: &str) -> Option<AccessLog> {
    if path.is_empty() {
        return None;
    }
    let fields = FIELDS.map(|(name, content)| (name.to_owned(), text(content)));
    let format = SubstitutionFormatString {
        format: Some(substitution_format_string::Format::JsonFormat(Struct {
            fields: fields.into(),
        })),
        ..Default::default()
    };
    let log = FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    };
    Some(AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(log))),
        ..Default::default()
    })
}
