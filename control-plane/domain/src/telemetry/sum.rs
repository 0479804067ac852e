//! Deltas of many slots and Envoys added up into figures.

use crate::Millis;
use optimizer_proto::telemetry::{Sketch, counters};
use optimizer_proto::v1::{CacheCounters, Outcome, RequestSeries, TelemetryDelta};
use std::collections::{BTreeMap, BTreeSet};

/// Which part of the traffic a figure is about; empty fields mean all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Instance or node id of one Envoy.
    pub envoy: Option<String>,
    /// Name of a route.
    pub route: Option<String>,
    /// Name of an upstream.
    pub upstream: Option<String>,
}

impl Filter {
    /// True when requests of all routes and upstreams count.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.route.is_none() && self.upstream.is_none()
    }

    /// Whether an upstream is meant.
    #[must_use]
    pub fn takes_upstream(&self, name: &str) -> bool {
        self.upstream.as_deref().is_none_or(|wanted| wanted == name)
    }

    fn takes(&self, series: &RequestSeries) -> bool {
        let route = self.route.as_deref().is_none_or(|wanted| wanted == series.route);
        route && self.takes_upstream(&series.upstream)
    }
}

/// Where and when failures of a type were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorExample {
    /// End of the newest slot with one.
    pub last_seen_ms: Millis,
    /// Upstreams, a few of them.
    pub upstreams: BTreeSet<String>,
}

/// Upstreams named per type of failure.
const EXAMPLES: usize = 5;
/// The filter's numbers of HTTP/2 and later.
const HTTP2: u32 = 20;

/// Requests of one outcome.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// How many.
    pub count: u64,
    /// Client latency, microseconds.
    pub latency: Sketch,
}

/// What a route asked of the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteSum {
    /// Requests.
    pub requests: u64,
    /// Those that were looked up, and those answered from the cache.
    pub lookups: u64,
    /// See `lookups`.
    pub hits: u64,
    /// Content bytes sent to clients, and those of them from the cache.
    pub bytes: u64,
    /// See `bytes`.
    pub hit_bytes: u64,
}

/// The sum.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Requests by outcome.
    pub by_outcome: BTreeMap<i32, Requests>,
    /// Time inside the filter, nanoseconds.
    pub overhead: Sketch,
    /// Failures by type.
    pub errors: BTreeMap<String, u64>,
    /// Where and when failures were seen, by type.
    pub error_examples: BTreeMap<String, ErrorExample>,
    /// Why responses were not stored or not reused.
    pub reasons: BTreeMap<String, u64>,
    /// By route.
    pub routes: BTreeMap<String, RouteSum>,
    /// Lookups that would have been hits but for a reason.
    pub lost_hits: BTreeMap<String, u64>,
    /// What was invalidated, by cause.
    pub invalidations: BTreeMap<String, u64>,
    /// What validations found by route: unchanged, changed, milliseconds observed.
    pub changes: BTreeMap<String, (u64, u64, u64)>,
    /// Cache counters.
    pub cache: CacheCounters,
    /// Content bytes sent to clients.
    pub response_bytes: u64,
    /// Requests whose protocol the filter has asked for, and those of them on HTTP/2 or later.
    pub protocol_known: u64,
    /// See `protocol_known`.
    pub http2: u64,
    /// Upstream requests, and those that needed no new connection.
    pub upstream_requests: u64,
    /// See `upstream_requests`.
    pub upstream_reused: u64,
}

/// Whether these requests were looked up, and whether the cache answered them.
fn looked_up(series: &RequestSeries) -> (bool, bool) {
    let outcome = Outcome::try_from(series.outcome).unwrap_or_default();
    let hit = matches!(outcome, Outcome::Hit | Outcome::Stale);
    (hit || matches!(outcome, Outcome::Revalidated | Outcome::Miss), hit)
}

impl Sum {
    /// Adds a delta.
    pub fn add(&mut self, delta: &TelemetryDelta) {
        self.add_of(&Filter::default(), delta, 0);
    }

    /// Adds the part of a delta, closed at `at_ms`, that a figure is about. What the caches count is not told apart by route or
    /// upstream; then lookups and hits are those of the requests.
    pub fn add_of(&mut self, filter: &Filter, delta: &TelemetryDelta, at_ms: Millis) {
        for series in delta.requests.iter().filter(|series| filter.takes(series)) {
            self.add_series(series);
            if !filter.is_whole() {
                self.add_lookups(series);
            }
        }
        self.add_errors(filter, delta, at_ms);
        if filter.is_whole() {
            self.add_whole(delta);
        }
    }

    fn add_series(&mut self, series: &RequestSeries) {
        let requests = self.by_outcome.entry(series.outcome).or_default();
        add(&mut requests.count, series.count);
        merge(&mut requests.latency, series.latency_us.as_ref());
        add(&mut self.response_bytes, series.response_bytes);
        let (looked_up, hit) = looked_up(series);
        let route = self.routes.entry(series.route.clone()).or_default();
        add(&mut route.requests, series.count);
        add(&mut route.lookups, if looked_up { series.count } else { 0 });
        add(&mut route.hits, if hit { series.count } else { 0 });
        add(&mut route.bytes, series.response_bytes);
        add(&mut route.hit_bytes, if hit { series.response_bytes } else { 0 });
        add(&mut self.upstream_requests, series.upstream_requests);
        add(&mut self.upstream_reused, series.upstream_reused);
        if series.protocol > 0 {
            add(&mut self.protocol_known, series.count);
            add(&mut self.http2, if series.protocol >= HTTP2 { series.count } else { 0 });
        }
    }

    fn add_lookups(&mut self, series: &RequestSeries) {
        let (looked_up, hit) = looked_up(series);
        add(&mut self.cache.hits, if hit { series.count } else { 0 });
        add(&mut self.cache.lookups, if looked_up { series.count } else { 0 });
    }

    fn add_errors(&mut self, filter: &Filter, delta: &TelemetryDelta, at_ms: Millis) {
        for error in delta
            .errors
            .iter()
            .filter(|error| filter.takes_upstream(&error.upstream))
        {
            add(self.errors.entry(error.kind.clone()).or_default(), error.count);
            let example = self.error_examples.entry(error.kind.clone()).or_default();
            example.last_seen_ms = example.last_seen_ms.max(at_ms);
            if example.upstreams.len() < EXAMPLES && !error.upstream.is_empty() {
                example.upstreams.insert(error.upstream.clone());
            }
        }
    }

    fn add_whole(&mut self, delta: &TelemetryDelta) {
        for (sums, counts) in [
            (&mut self.reasons, &delta.reasons),
            (&mut self.lost_hits, &delta.lost_hits),
            (&mut self.invalidations, &delta.invalidations),
        ] {
            for count in counts {
                add(sums.entry(count.code.clone()).or_default(), count.count);
            }
        }
        for change in &delta.changes {
            let sum = self.changes.entry(change.route.clone()).or_default();
            add(&mut sum.0, change.unchanged);
            add(&mut sum.1, change.changed);
            add(&mut sum.2, change.observed_ms);
        }
        merge(&mut self.overhead, delta.overhead_ns.as_ref());
        if let Some(cache) = &delta.cache {
            counters::add(counters::CACHE, &mut self.cache, cache);
        }
    }

    /// Requests of one outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.by_outcome
            .get(&(outcome as i32))
            .map_or(0, |requests| requests.count)
    }

    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.by_outcome
            .values()
            .fold(0, |sum, requests| sum.saturating_add(requests.count))
    }

    /// Requests that failed, and those that were refused.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.count(Outcome::Error).saturating_add(self.count(Outcome::Shed))
    }

    /// Client latency of all requests.
    #[must_use]
    pub fn latency(&self) -> Sketch {
        self.latency_where(|_| true)
    }

    /// Client latency of requests by what became of them.
    #[must_use]
    pub fn latency_of(&self, outcomes: &[Outcome]) -> Sketch {
        self.latency_where(|outcome| outcomes.contains(&outcome))
    }

    fn latency_where(&self, wanted: impl Fn(Outcome) -> bool) -> Sketch {
        let mut sum = Sketch::new();
        for (outcome, requests) in &self.by_outcome {
            if wanted(Outcome::try_from(*outcome).unwrap_or_default()) {
                sum.merge(&requests.latency);
            }
        }
        sum
    }
}

fn add(to: &mut u64, from: u64) {
    *to = to.saturating_add(from);
}

/// Only checked sketches get here; an invalid one counts as empty.
fn merge(into: &mut Sketch, from: Option<&optimizer_proto::v1::Sketch>) {
    if let Some(sketch) = from.and_then(|message| Sketch::try_from(message.clone()).ok()) {
        into.merge(&sketch);
    }
}
