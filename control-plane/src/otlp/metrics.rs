//! Sends the families of `/metrics` to the collector, each time as they are then. The SDK's instruments would be a second place that counts, and has
//! neither summaries nor histograms that were counted elsewhere.

use super::collector::{Collector, Complaint, variable};
use super::figures::{Time, metric};
use super::{SERVICE, is_off, resource};
use crate::kernel::blocking::run_blocking;
use crate::kernel::clock::now_ms;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::proto::MetricFamily;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// By default (Periodic exporting MetricReader).
const INTERVAL: Duration = Duration::from_secs(60);

/// Exports until told to stop; returns at once where no collector is named.
///
/// # Errors
/// The variables cannot be used.
pub(crate) fn export(
    families: impl Fn() -> Vec<MetricFamily> + Send + 'static,
    stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    if is_off("METRICS") {
        return Ok(());
    }
    if let Some(collector) = Collector::of("METRICS")? {
        let interval = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.trim().parse().ok());
        let interval = interval.filter(|milliseconds| *milliseconds > 0);
        tokio::spawn(go_on(
            collector,
            families,
            interval.map_or(INTERVAL, Duration::from_millis),
            stopped,
        ));
    }
    Ok(())
}

async fn go_on(
    collector: Collector,
    families: impl Fn() -> Vec<MetricFamily>,
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut client = MetricsServiceClient::new(collector.channel());
    let (start, complaint) = (nanoseconds(), Complaint::default());
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        let time = Time {
            start,
            now: nanoseconds(),
        };
        // Those of a large fleet take their time.
        let metrics = run_blocking(|| families().iter().filter_map(|family| metric(family, time)).collect());
        let mut request = Request::new(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(described()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        name: SERVICE.to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        });
        *request.metadata_mut() = collector.metadata().clone();
        tokio::select! {
            sent = send(&mut client, request) => complaint.note("metrics", &sent),
            _ = stopped.changed() => return,
        }
    }
}

async fn send(
    client: &mut MetricsServiceClient<Channel>,
    request: Request<ExportMetricsServiceRequest>,
) -> Result<(), Status> {
    client.export(request).await.map(drop)
}

fn nanoseconds() -> u64 {
    now_ms().saturating_mul(1_000_000)
}

fn described() -> Resource {
    let attribute = |(key, value): (&opentelemetry::Key, &opentelemetry::Value)| KeyValue {
        key: key.to_string(),
        value: Some(value.clone().into()),
        ..KeyValue::default()
    };
    Resource {
        attributes: resource().iter().map(attribute).collect(),
        ..Resource::default()
    }
}
