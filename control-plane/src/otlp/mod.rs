//! Traces and metrics for an OpenTelemetry collector, by OTLP over gRPC. Off until the standard variables name an endpoint.
//!
//! A collector that is slow or away costs spans, and nothing else: they wait in a queue of bounded length, are sent from a thread of their own, and
//! whatever finds no place in the queue is dropped.

mod collector;
mod figures;
mod metrics;

pub(crate) use metrics::export as export_metrics;

use collector::{Collector, Reported, variable};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use std::time::Duration;

/// What is called by this name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise.
const SERVICE: &str = "api-optimizer-control-plane";
/// Spans that wait at a stop get so long to be sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The process, as the collector knows it.
fn resource() -> Resource {
    let named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
    let builder = Resource::builder();
    let builder = if named {
        builder
    } else {
        builder.with_service_name(SERVICE)
    };
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    builder.with_attribute(version).build()
}

/// Whether the variables say that a signal is not exported.
fn is_off(signal: &str) -> bool {
    let off = variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    off || variable(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|text| text == "none")
}

/// The exporter of spans.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// As the variables say; `None` where they name no endpoint. To be called within the runtime.
    ///
    /// # Errors
    /// They contradict themselves, or cannot be read.
    pub(crate) fn from_environment() -> Result<Option<Self>, String> {
        if is_off("TRACES") {
            return Ok(None);
        }
        let Some(collector) = Collector::of("TRACES")? else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder().with_tonic().with_channel(collector.channel());
        let exporter = exporter.build().map_err(|error| error.to_string())?;
        let processor = BatchSpanProcessor::builder(Reported::new(exporter)).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_processor(processor)
            .build();
        Ok(Some(Self { provider }))
    }

    /// What makes spans.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer(SERVICE)
    }

    /// Sends what waits, if that can be done in time.
    pub(crate) async fn stop(self) {
        let flushed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(LAST_WORDS));
        // Neither is worth waiting for any longer.
        let _ = tokio::time::timeout(2 * LAST_WORDS, flushed).await;
    }
}
