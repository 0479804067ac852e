//! The same figures as OpenMetrics 1.0, with examples of traces at the buckets of a histogram.
//!
//! The `prometheus` library writes the classic text only. Each line of a sample is the same in both formats, so what it writes is kept and the rest is
//! changed: counters are named without `_total` in their comments, examples are added, and `# EOF` ends it. Values of `le` and `quantile` stay as
//! they are in the classic text, where the standard would like a point in whole numbers: another text would be another series in Prometheus.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use std::collections::HashMap;
use std::fmt::Write;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A request that stands for those of its bucket.
#[derive(Debug, Clone)]
pub(super) struct Exemplar {
    pub(super) trace: String,
    pub(super) value: f64,
    pub(super) at_ms: u64,
}

/// By the beginning of the line that they are of.
pub(super) type Exemplars = HashMap<String, Exemplar>;

/// The text of these families.
pub(super) fn text(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut out = String::new();
    for family in families {
        let mut classic = Vec::new();
        // One that cannot be written, for it has no series yet, is left out.
        if TextEncoder::new()
            .encode(std::slice::from_ref(family), &mut classic)
            .is_err()
        {
            continue;
        }
        let total = family.get_field_type() == MetricType::COUNTER;
        for line in String::from_utf8_lossy(&classic).lines() {
            write_line(&mut out, line, family.name(), total, exemplars);
        }
    }
    out.push_str("# EOF\n");
    out
}

fn write_line(out: &mut String, line: &str, name: &str, total: bool, exemplars: &Exemplars) {
    let comment = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
        let rest = line.strip_prefix(kind)?.strip_prefix(name)?;
        Some((kind, rest))
    });
    if let Some((kind, rest)) = comment {
        let name = name.strip_suffix("_total").filter(|_| total).unwrap_or(name);
        // What is no mark-up in the classic text is here.
        let rest = rest.replace('"', "\\\"");
        out.push_str(kind);
        out.push_str(name);
        out.push_str(&rest);
    } else {
        out.push_str(line);
        let (sample, _) = line.rsplit_once(' ').unwrap_or_default();
        if let Some(Exemplar { trace, value, at_ms }) = exemplars.get(sample) {
            let (seconds, milliseconds) = (at_ms / 1_000, at_ms % 1_000);
            // Writing to a text does not fail.
            let _ = write!(out, " # {{trace_id=\"{trace}\"}} {value} {seconds}.{milliseconds:03}");
        }
    }
    out.push('\n');
}

/// Whether a client would rather have it than the classic text (RFC 9110 section 12.5.1). A range with a `*` is for both, and asks for neither.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut this, mut classic) = (0.0_f64, 0.0_f64);
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"').to_owned()),
                _ => {}
            }
        }
        match (media.as_str(), version.as_deref()) {
            ("application/openmetrics-text", None | Some("1.0.0")) => this = this.max(quality),
            ("text/plain", None | Some("0.0.4")) => classic = classic.max(quality),
            _ => {}
        }
    }
    this > 0.0 && this >= classic
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Collector as _;
    use prometheus::{HistogramOpts, HistogramVec, IntCounter};

    #[test]
    fn the_same_samples_are_written_with_examples_and_an_end() {
        let counter = IntCounter::new("api_requests_total", "All \"requests\".").unwrap();
        counter.inc();
        let options = HistogramOpts::new("api_seconds", "Time.").buckets(vec![1.0]);
        let histogram = HistogramVec::new(options, &["path"]).unwrap();
        histogram.with_label_values(&["/a"]).observe(0.25);
        let families = [counter.collect(), histogram.collect()].concat();
        let exemplar = Exemplar {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            value: 0.25,
            at_ms: 1_700_000_000_007,
        };
        let exemplars = HashMap::from([("api_seconds_bucket{path=\"/a\",le=\"1\"}".to_owned(), exemplar)]);
        let expected = "# HELP api_requests All \\\"requests\\\".\n\
            # TYPE api_requests counter\n\
            api_requests_total 1\n\
            # HELP api_seconds Time.\n\
            # TYPE api_seconds histogram\n\
            api_seconds_bucket{path=\"/a\",le=\"1\"} 1 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.25 1700000000.007\n\
            api_seconds_bucket{path=\"/a\",le=\"+Inf\"} 1\n\
            api_seconds_sum{path=\"/a\"} 0.25\n\
            api_seconds_count{path=\"/a\"} 1\n\
            # EOF\n";
        assert_eq!(text(&families, &exemplars), expected);
    }

    #[test]
    fn who_asks_for_it_gets_it_and_nobody_else() {
        let wanted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            is_wanted(&headers)
        };
        for accept in [
            "application/openmetrics-text; version=1.0.0",
            "Application/OpenMetrics-Text;version=\"1.0.0\"; charset=utf-8",
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text;q=0.1,*/*",
        ] {
            assert!(wanted(accept), "{accept}");
        }
        for accept in [
            "*/*",
            "text/plain",
            "application/*",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.4,text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "",
        ] {
            assert!(!wanted(accept), "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
