//! Metric families from figures that are counted elsewhere: the library's own types count by themselves.

use optimizer_proto::telemetry::Sketch;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
};

/// Label names with their values.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

pub(super) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];
/// Bounds of the classic histograms, microseconds; the runbook's thresholds are among them.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn labelled(labels: &Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// A counter of seconds, of which milliseconds are known.
pub(super) fn seconds(name: &str, help: &str, milliseconds: u64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(milliseconds as f64 / 1_000.0);
    let mut metric = labelled(&Vec::new());
    metric.set_counter(counter);
    family(name, help, MetricType::COUNTER, vec![metric])
}

/// Counters.
pub(super) fn counters<'a>(
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> MetricFamily {
    let metrics = series.into_iter().map(|(labels, value)| {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        let mut metric = labelled(&labels);
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

/// Gauges.
pub(super) fn gauges<'a>(name: &str, help: &str, series: impl IntoIterator<Item = (Labels<'a>, f64)>) -> MetricFamily {
    let metrics = series.into_iter().map(|(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(if value.is_finite() { value } else { 0.0 });
        let mut metric = labelled(&labels);
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

/// A gauge without labels.
pub(super) fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    gauges(name, help, [(Vec::new(), value)])
}

/// A summary: the quantiles of a window, and count and sum since the beginning. `unit` of the sketches' values makes a second.
pub(super) fn summary(name: &str, help: &str, window: &Sketch, totals: &Sketch, unit: f64) -> MetricFamily {
    let quantiles = QUANTILES.map(|q| {
        let mut quantile = Quantile::default();
        quantile.set_quantile(q);
        quantile.set_value(window.quantile(q).unwrap_or(0.0) / unit);
        quantile
    });
    let mut summary = Summary::default();
    summary.set_quantile(quantiles.to_vec());
    summary.set_sample_count(totals.count());
    summary.set_sample_sum(totals.sum() as f64 / unit);
    let mut metric = labelled(&Vec::new());
    metric.set_summary(summary);
    family(name, help, MetricType::SUMMARY, vec![metric])
}

/// Classic histograms of microseconds, in seconds.
pub(super) fn histograms<'a>(
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, Sketch)>,
) -> MetricFamily {
    let metrics = series.into_iter().map(|(labels, sketch)| {
        let buckets = BOUNDS_US.map(|bound| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound as f64 / 1e6);
            bucket.set_cumulative_count(sketch.count_at_most(bound));
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.to_vec());
        histogram.set_sample_count(sketch.count());
        histogram.set_sample_sum(sketch.sum() as f64 / 1e6);
        let mut metric = labelled(&labels);
        metric.set_histogram(histogram);
        metric
    });
    family(name, help, MetricType::HISTOGRAM, metrics.collect())
}
