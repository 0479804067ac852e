//! Families of Prometheus as metrics of OTLP, by the mapping of the OpenTelemetry specification ("Prometheus and OpenMetrics Compatibility"), with
//! the names that they have at `/metrics`.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, Summary,
    SummaryDataPoint, number_data_point,
};
use prometheus::proto::{LabelPair, MetricFamily, MetricType};

/// When counting began, and now; nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// A family; `None` for one without series.
pub(super) fn metric(family: &MetricFamily, time: Time) -> Option<Metric> {
    if family.get_metric().is_empty() {
        return None;
    }
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(family, time, |metric| metric.get_counter().get_value()),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: family
                .get_metric()
                .iter()
                .map(|metric| histogram(metric, time))
                .collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
        MetricType::SUMMARY => Data::Summary(Summary {
            data_points: family.get_metric().iter().map(|metric| summary(metric, time)).collect(),
        }),
        _ => Data::Gauge(Gauge {
            data_points: numbers(family, time, |metric| metric.get_gauge().get_value()),
        }),
    };
    Some(Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        unit: unit(family.name()).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// UCUM's name of a family's unit.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn attributes(labels: &[LabelPair]) -> Vec<KeyValue> {
    let pair = |label: &LabelPair| KeyValue {
        key: label.name().to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(label.value().to_owned())),
        }),
        ..KeyValue::default()
    };
    labels.iter().map(pair).collect()
}

fn numbers(
    family: &MetricFamily,
    time: Time,
    value: impl Fn(&prometheus::proto::Metric) -> f64,
) -> Vec<NumberDataPoint> {
    let point = |metric: &prometheus::proto::Metric| NumberDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano: time.start,
        time_unix_nano: time.now,
        value: Some(number_data_point::Value::AsDouble(value(metric))),
        ..NumberDataPoint::default()
    };
    family.get_metric().iter().map(point).collect()
}

/// Prometheus counts in each bucket what is below, too; OTLP does not.
fn histogram(metric: &prometheus::proto::Metric, time: Time) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let finite = || {
        histogram
            .get_bucket()
            .iter()
            .filter(|bucket| bucket.upper_bound().is_finite())
    };
    let mut below = 0;
    let mut bucket_counts: Vec<u64> = finite()
        .map(|bucket| {
            let count = bucket.cumulative_count().saturating_sub(below);
            below = bucket.cumulative_count().max(below);
            count
        })
        .collect();
    bucket_counts.push(histogram.get_sample_count().saturating_sub(below));
    HistogramDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano: time.start,
        time_unix_nano: time.now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds: finite().map(prometheus::proto::Bucket::upper_bound).collect(),
        ..HistogramDataPoint::default()
    }
}

fn summary(metric: &prometheus::proto::Metric, time: Time) -> SummaryDataPoint {
    let summary = metric.get_summary();
    let quantile = |quantile: &prometheus::proto::Quantile| ValueAtQuantile {
        quantile: quantile.quantile(),
        value: quantile.value(),
    };
    SummaryDataPoint {
        attributes: attributes(metric.get_label()),
        start_time_unix_nano: time.start,
        time_unix_nano: time.now,
        count: summary.sample_count(),
        sum: summary.sample_sum(),
        quantile_values: summary.get_quantile().iter().map(quantile).collect(),
        ..SummaryDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Collector as _;
    use prometheus::{HistogramOpts, HistogramVec, IntCounter};

    const TIME: Time = Time { start: 1, now: 2 };

    #[test]
    fn buckets_are_counted_one_by_one() {
        let options = HistogramOpts::new("api_seconds", "Time.").buckets(vec![1.0, 2.0]);
        let histogram = HistogramVec::new(options, &["path"]).unwrap();
        for value in [0.5, 1.5, 1.6, 9.0] {
            histogram.with_label_values(&["/a"]).observe(value);
        }
        let metric = metric(&histogram.collect()[0], TIME).unwrap();
        assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("api_seconds", "s"));
        let Some(Data::Histogram(data)) = metric.data else {
            panic!("{metric:?}");
        };
        let point = &data.data_points[0];
        assert_eq!(point.bucket_counts, [1, 2, 1]);
        assert_eq!(point.explicit_bounds, [1.0, 2.0]);
        assert_eq!((point.count, point.attributes[0].key.as_str()), (4, "path"));
    }

    #[test]
    fn a_counter_keeps_its_name_and_one_without_series_is_left_out() {
        let counter = IntCounter::new("api_bytes_total", "Bytes.").unwrap();
        counter.inc_by(7);
        let sum = metric(&counter.collect()[0], TIME).unwrap();
        assert_eq!((sum.name.as_str(), sum.unit.as_str()), ("api_bytes_total", "By"));
        assert!(
            matches!(sum.data, Some(Data::Sum(ref sum)) if sum.is_monotonic),
            "{sum:?}"
        );
        assert!(metric(&MetricFamily::default(), TIME).is_none());
    }
}
