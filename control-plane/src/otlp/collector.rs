//! The way to the collector, as the standard variables name it, and what is said when it does not answer.

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use percent_encoding::percent_decode_str;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// How long an export takes at most, by default (OpenTelemetry Protocol Exporter).
const TIMEOUT: Duration = Duration::from_secs(10);

/// The value of a variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// That of one signal, or else that of all.
fn of_signal(signal: &str, name: &str) -> Option<String> {
    variable(&format!("OTEL_EXPORTER_OTLP_{signal}_{name}")).or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

/// Where one signal goes.
#[derive(Debug)]
pub(super) struct Collector {
    channel: Channel,
    metadata: MetadataMap,
}

impl Collector {
    /// The collector of a signal (`TRACES`, `METRICS`); `None` where none is named.
    ///
    /// # Errors
    /// What is named cannot be used.
    pub(super) fn of(signal: &str) -> Result<Option<Self>, String> {
        let Some(address) = of_signal(signal, "ENDPOINT") else {
            return Ok(None);
        };
        if let Some(other) = of_signal(signal, "PROTOCOL").filter(|protocol| protocol != "grpc") {
            return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL={other}: only grpc is spoken here"));
        }
        let timeout = of_signal(signal, "TIMEOUT").and_then(|text| text.trim().parse().ok());
        let endpoint = Endpoint::from_shared(address.trim().to_owned())
            .map_err(|_| "OTEL_EXPORTER_OTLP_ENDPOINT is not a URL".to_owned())?
            .timeout(timeout.map_or(TIMEOUT, Duration::from_millis));
        let endpoint = match endpoint.uri().scheme_str() {
            Some("http") => endpoint,
            Some("https") => endpoint.tls_config(tls(signal)?).map_err(|error| error.to_string())?,
            _ => return Err("OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://".to_owned()),
        };
        Ok(Some(Self {
            channel: endpoint.connect_lazy(),
            metadata: of_signal(signal, "HEADERS")
                .map(|text| fields(&text))
                .unwrap_or_default(),
        }))
    }

    /// The connection, which is made when it is needed.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What every call carries beside its message.
    pub(super) fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }
}

fn tls(signal: &str) -> Result<ClientTlsConfig, String> {
    let tls = ClientTlsConfig::new();
    let Some(file) = of_signal(signal, "CERTIFICATE") else {
        return Ok(tls.with_enabled_roots());
    };
    let authorities =
        std::fs::read(&file).map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE {file}: {error}"))?;
    Ok(tls.ca_certificate(Certificate::from_pem(authorities)))
}

/// `name=value,name=value` with values as in URLs. What is malformed is left out: it could be a secret, which nobody may be shown.
fn fields(text: &str) -> MetadataMap {
    let mut fields = MetadataMap::new();
    for (name, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let name = MetadataKey::from_bytes(name.trim().to_ascii_lowercase().as_bytes());
        let value = percent_decode_str(value.trim()).decode_utf8().ok();
        if let (Ok(name), Some(value)) = (name, value.and_then(|value| value.parse().ok())) {
            fields.insert(name, value);
        }
    }
    fields
}

/// Tells when exporting begins to fail, and when it works again: once each, not for every batch.
#[derive(Debug, Default)]
pub(super) struct Complaint(AtomicBool);

impl Complaint {
    pub(super) fn note<E: Display>(&self, signal: &str, result: &Result<(), E>) {
        match result {
            Err(error) if !self.0.swap(true, Ordering::Relaxed) => {
                tracing::warn!(signal, %error, "the OpenTelemetry collector does not take what it is sent: it is dropped");
            }
            Ok(()) if self.0.swap(false, Ordering::Relaxed) => {
                tracing::info!(signal, "the OpenTelemetry collector takes what it is sent again");
            }
            _ => {}
        }
    }
}

/// An exporter whose failures are told.
#[derive(Debug)]
pub(super) struct Reported<E> {
    exporter: E,
    complaint: Complaint,
}

impl<E> Reported<E> {
    pub(super) fn new(exporter: E) -> Self {
        let complaint = Complaint::default();
        Self { exporter, complaint }
    }
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        self.complaint.note("traces", &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_standard_writes_them() {
        let read = fields("Authorization=Bearer%20a, x-tenant = b ,=c,no,bad name=d,broken=%ff");
        assert_eq!(read.len(), 2, "{read:?}");
        assert_eq!(read.get("authorization").unwrap(), "Bearer a");
        assert_eq!(read.get("x-tenant").unwrap(), "b");
    }
}
