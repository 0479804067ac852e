//! What makes a received report impossible.

use std::fmt;

use super::counters::Unit;
use super::delta::{
    MAX_BREAKER_EVENTS, MAX_CHANGES, MAX_CLIENT_PURGES, MAX_ERRORS, MAX_FINDINGS, MAX_REASONS, MAX_SERIES,
};
use super::samples::{EVERY_KEY, MAX_SAMPLES};
use super::{SketchFault, counters, sketch_wire};
use crate::v1;
use crate::v1::{
    CacheCounters, ChangeCount, FilterGauges, ReasonCount, RequestSeries, TelemetryDelta, TelemetryReport,
};

const MAX_LABEL: usize = 256;
const MAX_INSTANCE_ID: usize = 128;
const MAX_BREAKERS: usize = 4_096;
const MAX_COUNT: u64 = Unit::Events.most();
const MAX_BYTES: u64 = Unit::Bytes.most();
/// More requests than any Envoy answers in a millisecond. Deltas that wait in an Envoy are merged, so that a report can hold what a VM
/// kept back for a while before the time it covers.
const MAX_REQUESTS_PER_MS: u64 = 10_000;
const KEPT_BACK_MS: u64 = 60_000;
/// How far an Envoy's clock may run ahead of the receiver's.
const MAX_AHEAD_MS: u64 = 5 * 60 * 1_000;
/// Deltas merged back during an outage span longer than a second, but no outage this long is bridged.
const MAX_SPAN_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// The kind of fault of a refused report. Closed: metric labels use [`ReportFault::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFault {
    /// More series, errors, events, reasons or breakers than a filter sends.
    TooMany,
    /// A label longer than 256 bytes or with control characters, or an identity that is empty or longer than allowed.
    BadLabel,
    /// A count above 2^48 or contradicting another.
    ImpossibleCount,
    /// A sketch no recorder can have made.
    BadSketch(SketchFault),
    /// Closed more than five minutes after the receiver's now, or covering more than a week.
    BadTime,
    /// No sequence number.
    NoSequence,
}

impl ReportFault {
    /// The fault as written in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::BadLabel => "bad_label",
            Self::ImpossibleCount => "impossible_count",
            Self::BadSketch(_) => "bad_sketch",
            Self::BadTime => "bad_time",
            Self::NoSequence => "no_sequence",
        }
    }
}

/// Why a report was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedReport {
    /// The field, for people: `delta.requests[3].latency_us`.
    pub field: String,
    /// What is wrong with it.
    pub fault: ReportFault,
}

impl fmt::Display for RefusedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            ReportFault::BadSketch(fault) => write!(f, "{}: {fault}", self.field),
            fault => write!(f, "{}: {}", self.field, fault.as_str()),
        }
    }
}

impl std::error::Error for RefusedReport {}

/// Checks a received report before anything of it is merged. `now_ms` is the receiver's clock.
///
/// # Errors
/// The first fault found.
pub fn check_report(report: &TelemetryReport, now_ms: u64) -> Result<(), RefusedReport> {
    require(report.sequence > 0, "sequence", ReportFault::NoSequence)?;
    let identified = (1..=MAX_INSTANCE_ID).contains(&report.instance_id.len());
    require(identified, "instance_id", ReportFault::BadLabel)?;
    require(
        report.closed_at_ms <= now_ms.saturating_add(MAX_AHEAD_MS),
        "closed_at_ms",
        ReportFault::BadTime,
    )?;
    require(report.span_ms <= MAX_SPAN_MS, "span_ms", ReportFault::BadTime)?;
    if let Some(delta) = &report.delta {
        check_delta(delta)?;
        let requests = delta.requests.iter().map(|series| series.count);
        let possible = report
            .span_ms
            .saturating_add(KEPT_BACK_MS)
            .saturating_mul(MAX_REQUESTS_PER_MS);
        let counted = requests.fold(0, u64::saturating_add);
        require(counted <= possible, "delta.requests", ReportFault::ImpossibleCount)?;
    }
    report.gauges.as_ref().map_or(Ok(()), check_gauges)
}

/// Checks a delta by itself, as [`check_report`] does for the one in a report.
///
/// # Errors
/// The first fault found.
pub fn check_delta(delta: &TelemetryDelta) -> Result<(), RefusedReport> {
    require(
        delta.requests.len() <= MAX_SERIES,
        "delta.requests",
        ReportFault::TooMany,
    )?;
    require(delta.errors.len() <= MAX_ERRORS, "delta.errors", ReportFault::TooMany)?;
    for (name, reasons) in [
        ("reasons", &delta.reasons),
        ("lost_hits", &delta.lost_hits),
        ("invalidations", &delta.invalidations),
    ] {
        check_reasons(name, reasons)?;
    }
    check_changes(&delta.changes)?;
    require(
        delta.breaker_events.len() <= MAX_BREAKER_EVENTS,
        "delta.breaker_events",
        ReportFault::TooMany,
    )?;
    for (index, series) in delta.requests.iter().enumerate() {
        check_series(series).map_err(|(field, fault)| refused(format!("delta.requests[{index}].{field}"), fault))?;
    }
    for (index, error) in delta.errors.iter().enumerate() {
        let labels = label(&error.kind) && label(&error.upstream);
        let field = format_args!("delta.errors[{index}].kind");
        require(labels, field, ReportFault::BadLabel)?;
        let field = format_args!("delta.errors[{index}].count");
        require(error.count <= MAX_COUNT, field, ReportFault::ImpossibleCount)?;
    }
    for (index, event) in delta.breaker_events.iter().enumerate() {
        let sound = [&event.upstream, &event.from, &event.to, &event.cause]
            .into_iter()
            .all(|text| label(text));
        let field = format_args!("delta.breaker_events[{index}]");
        require(sound, field, ReportFault::BadLabel)?;
    }
    require(
        delta.purges.len() <= MAX_CLIENT_PURGES,
        "delta.purges",
        ReportFault::TooMany,
    )?;
    for (index, purge) in delta.purges.iter().enumerate() {
        let field = format_args!("delta.purges[{index}]");
        require(label(&purge.source), field, ReportFault::BadLabel)?;
    }
    require(
        delta.findings.len() <= MAX_FINDINGS,
        "delta.findings",
        ReportFault::TooMany,
    )?;
    for (index, finding) in delta.findings.iter().enumerate() {
        let field = format_args!("delta.findings[{index}]");
        require(label(&finding.id), field, ReportFault::BadLabel)?;
    }
    if let Some(cache) = &delta.cache {
        require(possible_cache(cache), "delta.cache", ReportFault::ImpossibleCount)?;
    }
    if let Some(samples) = &delta.samples {
        let sound = samples.keys.len() == samples.bytes.len()
            && samples.keys.len() == samples.usable_s.len()
            && (samples.fresh_s.is_empty() || samples.keys.len() == samples.fresh_s.len())
            && (samples.fetch_ms.is_empty() || samples.keys.len() == samples.fetch_ms.len())
            && samples.threshold <= EVERY_KEY;
        require(sound, "delta.samples", ReportFault::ImpossibleCount)?;
        require(samples.keys.len() <= MAX_SAMPLES, "delta.samples", ReportFault::TooMany)?;
    }
    check_sketch(delta.overhead_ns.as_ref())
        .map(drop)
        .map_err(|fault| refused("delta.overhead_ns", ReportFault::BadSketch(fault)))
}

fn check_reasons(name: &str, reasons: &[ReasonCount]) -> Result<(), RefusedReport> {
    let field = format_args!("delta.{name}");
    require(reasons.len() <= MAX_REASONS, field, ReportFault::TooMany)?;
    for (index, reason) in reasons.iter().enumerate() {
        let field = format_args!("delta.{name}[{index}].code");
        require(label(&reason.code), field, ReportFault::BadLabel)?;
        let field = format_args!("delta.{name}[{index}].count");
        require(reason.count <= MAX_COUNT, field, ReportFault::ImpossibleCount)?;
    }
    Ok(())
}

fn check_changes(changes: &[ChangeCount]) -> Result<(), RefusedReport> {
    require(changes.len() <= MAX_CHANGES, "delta.changes", ReportFault::TooMany)?;
    for (index, change) in changes.iter().enumerate() {
        let field = format_args!("delta.changes[{index}].route");
        require(label(&change.route), field, ReportFault::BadLabel)?;
        let possible = [change.unchanged, change.changed, change.observed_ms]
            .iter()
            .all(|count| *count <= MAX_BYTES);
        let field = format_args!("delta.changes[{index}].changed");
        require(possible, field, ReportFault::ImpossibleCount)?;
    }
    Ok(())
}

fn check_series(series: &RequestSeries) -> Result<(), (&'static str, ReportFault)> {
    if !label(&series.route) || !label(&series.upstream) {
        return Err(("route", ReportFault::BadLabel));
    }
    let recorded =
        check_sketch(series.latency_us.as_ref()).map_err(|fault| ("latency_us", ReportFault::BadSketch(fault)))?;
    if recorded > series.count {
        return Err(("count", ReportFault::ImpossibleCount));
    }
    if series.upstream_reused > series.upstream_requests {
        return Err(("upstream_requests", ReportFault::ImpossibleCount));
    }
    match counters::impossible(counters::SERIES, series) {
        Some(field) => Err((field, ReportFault::ImpossibleCount)),
        None => Ok(()),
    }
}

/// How many values the sketch holds.
fn check_sketch(message: Option<&v1::Sketch>) -> Result<u64, SketchFault> {
    message.map_or(Ok(0), sketch_wire::check)
}

fn check_gauges(gauges: &FilterGauges) -> Result<(), RefusedReport> {
    require(
        gauges.breakers.len() <= MAX_BREAKERS,
        "gauges.breakers",
        ReportFault::TooMany,
    )?;
    for (index, breaker) in gauges.breakers.iter().enumerate() {
        let sound =
            label(&breaker.upstream) && label(&breaker.state) && label(&breaker.cause) && label(&breaker.judged);
        let field = format_args!("gauges.breakers[{index}]");
        require(sound, field, ReportFault::BadLabel)?;
    }
    require(
        gauges.concurrency.len() <= MAX_BREAKERS,
        "gauges.concurrency",
        ReportFault::TooMany,
    )?;
    for (index, gauge) in gauges.concurrency.iter().enumerate() {
        let field = format_args!("gauges.concurrency[{index}]");
        require(label(&gauge.upstream), field, ReportFault::BadLabel)?;
    }
    let possible = gauges.cache_entries <= MAX_COUNT && gauges.cache_bytes <= MAX_BYTES;
    require(possible, "gauges.cache_entries", ReportFault::ImpossibleCount)
}

/// Counts that a filter raises together cannot contradict each other.
fn possible_cache(cache: &CacheCounters) -> bool {
    cache.hits <= cache.lookups && counters::impossible(counters::CACHE, cache).is_none()
}

fn label(text: &str) -> bool {
    text.len() <= MAX_LABEL && !text.contains(|c: char| c.is_control())
}

/// The name of the field is written only for one that is wrong.
fn require(sound: bool, field: impl fmt::Display, fault: ReportFault) -> Result<(), RefusedReport> {
    if sound { Ok(()) } else { Err(refused(field, fault)) }
}

fn refused(field: impl fmt::Display, fault: ReportFault) -> RefusedReport {
    RefusedReport {
        field: field.to_string(),
        fault,
    }
}
