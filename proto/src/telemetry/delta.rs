//! Adding one delta to another: what both sides do with reports, and what the filter does with one that was not
//! delivered.
//!
//! Every list is kept in the order of its keys, so the same additions in any order give the same delta while no limit
//! is reached.

use std::cmp::Ordering;

use prost::Message as _;

use super::{counters, sketch_wire};
use crate::v1::{
    BreakerEvent, CacheCounters, ChangeCount, ClientPurge, ErrorCount, Outcome, ReasonCount, RequestSeries,
    SharingFinding, TelemetryDelta,
};

/// Most request series in a delta. Those beyond the first 448 are counted under route and upstream [`OTHER`], by
/// outcome and protocol.
pub const MAX_SERIES: usize = 512;
/// Most error counts; those beyond are counted under kind and upstream [`OTHER`].
pub const MAX_ERRORS: usize = 256;
/// Most reason counts; those beyond are counted under [`OTHER`].
pub const MAX_REASONS: usize = 128;
/// Most routes in change counts; those beyond are counted under [`OTHER`].
pub const MAX_CHANGES: usize = 257;
/// Most breaker events; the oldest give way.
pub const MAX_BREAKER_EVENTS: usize = 256;
/// Most purges by clients, and most bytes of them; those beyond are not told.
pub const MAX_CLIENT_PURGES: usize = 256;
const CLIENT_PURGE_BYTES: usize = 64 << 10;
/// Most findings of verified sharing, and most bytes of them; those beyond are found again.
pub const MAX_FINDINGS: usize = 64;
const FINDING_BYTES: usize = 64 << 10;
/// The label of what has no label of its own.
pub const OTHER: &str = "other";

/// The client protocols a series tells apart: unknown, HTTP/1.0, 1.1, 2 and 3.
const PROTOCOLS: [u32; 5] = [0, 10, 11, 20, 30];
/// Room kept for the overflow's series: one for each outcome (the unspecified one included) and protocol, rounded up.
const OVERFLOW_SERIES: usize = 64;

/// Adds `from` to `into`, series by series; sums saturate, and the limits of this module hold. The result is in
/// canonical order.
///
/// The control plane does this several times for each report of each Envoy. So what is already there is added to in place:
/// only a series that is new, or a sketch that grows, allocates.
pub fn merge(into: &mut TelemetryDelta, from: &TelemetryDelta) {
    merge_counts(into, from);
    merge_events(&mut into.breaker_events, &from.breaker_events);
    merge_purges(&mut into.purges, &from.purges);
    merge_findings(&mut into.findings, &from.findings);
    if from.samples.is_some() {
        into.samples = super::samples::merged(into.samples.take(), from.samples.clone());
    }
}

/// As [`merge`], without what tells of single events: breaker events, purges by clients, findings and sampled lookups.
pub fn merge_counts(into: &mut TelemetryDelta, from: &TelemetryDelta) {
    merge_list(&mut into.requests, &from.requests, MAX_SERIES - OVERFLOW_SERIES);
    merge_list(&mut into.errors, &from.errors, MAX_ERRORS - 1);
    merge_list(&mut into.reasons, &from.reasons, MAX_REASONS - 1);
    merge_list(&mut into.lost_hits, &from.lost_hits, MAX_REASONS - 1);
    merge_list(&mut into.invalidations, &from.invalidations, MAX_REASONS - 1);
    merge_list(&mut into.changes, &from.changes, MAX_CHANGES - 1);
    if let Some(cache) = &from.cache {
        counters::add(counters::CACHE, into.cache.get_or_insert_default(), cache);
    }
    sketch_wire::merge(&mut into.overhead_ns, from.overhead_ns.as_ref());
}

/// Takes out of `pending` what fits into one message of `max_bytes`; what is left belongs into the report after it.
///
/// All counters go first, then request series in order while they fit; at least one, so that repeated calls come to an
/// end.
#[must_use]
pub fn take_bounded(pending: &mut TelemetryDelta, max_bytes: usize) -> TelemetryDelta {
    let mut requests = std::mem::take(&mut pending.requests);
    let mut taken = std::mem::take(pending);
    // Tag and length of an embedded message take at most six bytes at these sizes.
    let mut budget = max_bytes.saturating_sub(taken.encoded_len());
    let fitting = requests
        .iter()
        .take_while(|series| {
            let needed = series.encoded_len() + 6;
            let fits = needed <= budget;
            budget = budget.saturating_sub(needed);
            fits
        })
        .count();
    pending.requests = requests.split_off(fitting.max(1).min(requests.len()));
    taken.requests = requests;
    taken
}

/// True if nothing happened: there is nothing to report.
#[must_use]
pub fn is_empty(delta: &TelemetryDelta) -> bool {
    let no_sketch = delta
        .overhead_ns
        .as_ref()
        .is_none_or(|sketch| sketch.zero_count == 0 && sketch.counts.is_empty());
    delta.requests.is_empty()
        && delta.errors.is_empty()
        && delta.reasons.is_empty()
        && delta.lost_hits.is_empty()
        && delta.invalidations.is_empty()
        && delta.changes.is_empty()
        && delta.breaker_events.is_empty()
        && delta.purges.is_empty()
        && delta.findings.is_empty()
        && delta.cache.is_none_or(|cache| cache == CacheCounters::default())
        && no_sketch
        && delta.samples.as_ref().is_none_or(|samples| samples.keys.is_empty())
}

fn merge_purges(into: &mut Vec<ClientPurge>, from: &[ClientPurge]) {
    let mut bytes: usize = into.iter().map(ClientPurge::encoded_len).sum();
    for purge in from {
        bytes += purge.encoded_len();
        if into.len() >= MAX_CLIENT_PURGES || bytes > CLIENT_PURGE_BYTES {
            return;
        }
        into.push(purge.clone());
    }
}

fn merge_findings(into: &mut Vec<SharingFinding>, from: &[SharingFinding]) {
    let mut bytes: usize = into.iter().map(SharingFinding::encoded_len).sum();
    for finding in from {
        bytes += finding.encoded_len();
        if into.len() >= MAX_FINDINGS || bytes > FINDING_BYTES {
            return;
        }
        if !into.iter().any(|known| known.id == finding.id) {
            into.push(finding.clone());
        }
    }
}

/// An element of a list that merges by key.
trait Series: Clone {
    /// Orders by key alone.
    fn order(&self, other: &Self) -> Ordering;
    /// Adds another of the same key.
    fn add(&mut self, other: &Self);
    /// Gives up the labels that are not bounded by themselves.
    fn as_other(&self) -> Self;
    /// True for what [`Series::as_other`] gives: it always has room.
    fn is_other(&self) -> bool;
}

fn merge_list<T: Series>(into: &mut Vec<T>, from: &[T], own_series: usize) {
    if !into.is_sorted_by(|left, right| left.order(right) == Ordering::Less) {
        // Made elsewhere, perhaps with a key twice: bring it into order first.
        for series in std::mem::take(into) {
            insert(into, &series, own_series);
        }
    }
    // Both are in order and mostly have the same keys, so the place after the last one is tried before it is searched for.
    let mut next = 0;
    for series in from {
        let place = match into.get_mut(next) {
            Some(existing) if existing.order(series) == Ordering::Equal => {
                existing.add(series);
                next
            }
            _ => insert(into, series, own_series),
        };
        next = place + 1;
    }
}

/// Adds an element, and tells where it is.
fn insert<T: Series>(list: &mut Vec<T>, series: &T, own_series: usize) -> usize {
    let (place, new) = match list.binary_search_by(|candidate| candidate.order(series)) {
        Ok(found) => (found, None),
        Err(_) if list.len() >= own_series && !series.is_other() => {
            let other = series.as_other();
            match list.binary_search_by(|candidate| candidate.order(&other)) {
                Ok(found) => (found, None),
                Err(gap) => (gap, Some(other)),
            }
        }
        Err(gap) => (gap, Some(series.clone())),
    };
    match new {
        Some(new) => list.insert(place, new),
        None => add_at(list, place, series),
    }
    place
}

fn add_at<T: Series>(list: &mut [T], place: usize, series: &T) {
    if let Some(existing) = list.get_mut(place) {
        existing.add(series);
    }
}

impl Series for RequestSeries {
    fn order(&self, other: &Self) -> Ordering {
        (&self.route, &self.upstream, self.outcome, self.protocol).cmp(&(
            &other.route,
            &other.upstream,
            other.outcome,
            other.protocol,
        ))
    }

    fn add(&mut self, other: &Self) {
        counters::add(counters::SERIES, self, other);
        sketch_wire::merge(&mut self.latency_us, other.latency_us.as_ref());
    }

    fn as_other(&self) -> Self {
        Self {
            route: OTHER.to_owned(),
            upstream: OTHER.to_owned(),
            outcome: Outcome::try_from(self.outcome).unwrap_or_default().into(),
            protocol: Some(self.protocol)
                .filter(|known| PROTOCOLS.contains(known))
                .unwrap_or_default(),
            ..self.clone()
        }
    }

    fn is_other(&self) -> bool {
        self.route == OTHER
            && self.upstream == OTHER
            && Outcome::try_from(self.outcome).is_ok()
            && PROTOCOLS.contains(&self.protocol)
    }
}

impl Series for ErrorCount {
    fn order(&self, other: &Self) -> Ordering {
        (&self.kind, &self.upstream).cmp(&(&other.kind, &other.upstream))
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.count, other.count);
    }

    fn as_other(&self) -> Self {
        Self {
            kind: OTHER.to_owned(),
            upstream: OTHER.to_owned(),
            ..*self
        }
    }

    fn is_other(&self) -> bool {
        self.kind == OTHER && self.upstream == OTHER
    }
}

impl Series for ReasonCount {
    fn order(&self, other: &Self) -> Ordering {
        self.code.cmp(&other.code)
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.count, other.count);
    }

    fn as_other(&self) -> Self {
        Self {
            code: OTHER.to_owned(),
            ..*self
        }
    }

    fn is_other(&self) -> bool {
        self.code == OTHER
    }
}

impl Series for ChangeCount {
    fn order(&self, other: &Self) -> Ordering {
        self.route.cmp(&other.route)
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.unchanged, other.unchanged);
        add(&mut self.changed, other.changed);
        add(&mut self.observed_ms, other.observed_ms);
    }

    fn as_other(&self) -> Self {
        Self {
            route: OTHER.to_owned(),
            ..*self
        }
    }

    fn is_other(&self) -> bool {
        self.route == OTHER
    }
}

fn merge_events(into: &mut Vec<BreakerEvent>, from: &[BreakerEvent]) {
    if from.is_empty() {
        return;
    }
    into.extend_from_slice(from);
    into.sort_by(event_order);
    let excess = into.len().saturating_sub(MAX_BREAKER_EVENTS);
    into.drain(..excess);
}

/// By time, then by everything else: two events at one time have one order whichever side they came from.
fn event_order(left: &BreakerEvent, right: &BreakerEvent) -> Ordering {
    (left.at_ms, &left.upstream, &left.from, &left.to, &left.cause).cmp(&(
        right.at_ms,
        &right.upstream,
        &right.from,
        &right.to,
        &right.cause,
    ))
}

fn add(into: &mut u64, from: u64) {
    *into = into.saturating_add(from);
}
