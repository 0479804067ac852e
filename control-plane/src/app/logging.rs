//! Structured logs to standard error, and spans to a collector: each sees nothing of the other.

use super::config::Config;
use crate::kernel::trace::TARGET;
use crate::otlp::Traces;
use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

fn is_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}

/// `RUST_LOG` sets the level of the log, `info` by default.
///
/// # Errors
/// The variables of OpenTelemetry cannot be used.
pub(super) fn start(config: &Config) -> Result<Option<Traces>, String> {
    let traces = Traces::from_environment()?;
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if config.log_json {
        lines.json().boxed()
    } else {
        lines.boxed()
    };
    let lines = lines.with_filter(level.and(filter_fn(|metadata| !is_span(metadata))));
    let spans = traces.as_ref().map(|traces| {
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer());
        // Where in the source, in which thread and how busy: of no use to operators.
        let layer = layer
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        layer.with_filter(filter_fn(is_span)).boxed()
    });
    let layers: Vec<_> = std::iter::once(lines.boxed()).chain(spans).collect();
    tracing_subscriber::registry().with(layers).init();
    Ok(traces)
}
