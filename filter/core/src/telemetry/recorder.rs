//! Counters and latency sketches of one VM since its last hand-over.

use super::intern::{Name, Names};
use super::sampler::Sampler;
use optimizer_proto::codes::{Code, ErrorKind, InvalidationCause};
use optimizer_proto::telemetry::samples::Event;
use optimizer_proto::telemetry::{Sketch, delta};
use optimizer_proto::v1::{
    BreakerEvent, CacheCounters, ChangeCount, ClientPurge, ErrorCount, Outcome, ReasonCount, RequestSeries,
    SharingFinding, TelemetryDelta,
};
use std::collections::BTreeMap;

/// Series a VM keeps apart at most; the rest goes to the route `other`.
const MAX_SERIES: usize = 512;
/// Breaker events kept between two hand-overs; a breaker that flaps faster is cut to the newest.
const MAX_EVENTS: usize = 64;
/// Purges by clients that are taken between two hand-overs, which are a second apart.
const MAX_PURGES: usize = 16;
/// Findings of verified sharing in one delta.
const MAX_FINDINGS: usize = 16;

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From [`Recorder::name`].
    pub route: Name,
    /// From [`Recorder::name`].
    pub upstream: Name,
    /// What became of it.
    pub outcome: Outcome,
    /// 10, 11, 20, 30; 0 when not asked for.
    pub protocol: u8,
    /// From the first sight of the request to the end of the response, microseconds.
    pub latency_us: u64,
    /// Content bytes sent to the client.
    pub bytes: u64,
    /// Requests made to the upstream.
    pub upstream_requests: u8,
    /// How many of them needed no new connection.
    pub upstream_reused: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    route: Name,
    upstream: Name,
    outcome: i32,
    protocol: u8,
}

#[derive(Debug, Default)]
struct Series {
    count: u64,
    latency: Sketch,
    bytes: u64,
    upstream_requests: u64,
    upstream_reused: u64,
}

/// The recorder of one VM.
#[derive(Debug, Default)]
pub struct Recorder {
    names: Names,
    series: BTreeMap<Key, Series>,
    errors: BTreeMap<(&'static str, Name), u64>,
    reasons: BTreeMap<&'static str, u64>,
    lost_hits: BTreeMap<&'static str, u64>,
    invalidations: BTreeMap<&'static str, u64>,
    changes: BTreeMap<Name, (u64, u64, u64)>,
    events: Vec<BreakerEvent>,
    purges: Vec<ClientPurge>,
    findings: Vec<SharingFinding>,
    overhead: Sketch,
    sampler: Sampler,
    /// Cache counters, added to directly.
    pub cache: CacheCounters,
    carried: TelemetryDelta,
}

impl Recorder {
    /// The number of a route's or upstream's name.
    pub fn name(&mut self, name: &str) -> Name {
        self.names.number(name)
    }

    /// The name behind a number.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.names.name(name)
    }

    /// Counts a finished request.
    pub fn request(&mut self, sample: &Sample) {
        let mut key = Key {
            route: sample.route,
            upstream: sample.upstream,
            outcome: sample.outcome as i32,
            protocol: sample.protocol,
        };
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&key) {
            let other = self.names.number("other");
            key = Key {
                route: other,
                upstream: other,
                ..key
            };
        }
        let series = self.series.entry(key).or_default();
        series.count += 1;
        series.latency.record(sample.latency_us);
        series.bytes = series.bytes.saturating_add(sample.bytes);
        series.upstream_requests += u64::from(sample.upstream_requests);
        series.upstream_reused += u64::from(sample.upstream_reused);
    }

    /// Counts time spent inside the filter for one request, nanoseconds.
    pub fn overhead(&mut self, nanoseconds: u64) {
        self.overhead.record(nanoseconds);
    }

    /// Counts a failure of an upstream by its type.
    pub fn error(&mut self, kind: ErrorKind, upstream: Name) {
        *self.errors.entry((kind.as_str(), upstream)).or_default() += 1;
    }

    /// Counts why a response was not stored or not reused.
    pub fn reason(&mut self, reason: impl Code) {
        *self.reasons.entry(reason.as_str()).or_default() += 1;
    }

    /// Counts a lookup that would have been a hit but for a reason.
    pub fn lost_hit(&mut self, code: &'static str) {
        *self.lost_hits.entry(code).or_default() += 1;
    }

    /// Counts an invalidation by its cause.
    pub fn invalidated(&mut self, cause: InvalidationCause) {
        self.cache.invalidations += 1;
        *self.invalidations.entry(cause.as_str()).or_default() += 1;
    }

    /// Notes by its cause that something stored has gone which a counter of its own counts, or which no rate is about.
    pub fn gone(&mut self, cause: InvalidationCause, count: u64) {
        if count > 0 {
            *self.invalidations.entry(cause.as_str()).or_default() += count;
        }
    }

    /// Counts what a validation found out: whether the content has changed within a time.
    pub fn validated(&mut self, route: Name, changed: bool, after_ms: u64) {
        let counts = self.changes.entry(route).or_default();
        counts.0 += u64::from(!changed);
        counts.1 += u64::from(changed);
        counts.2 = counts.2.saturating_add(after_ms);
    }

    /// Keeps a breaker's transition.
    pub fn event(&mut self, event: BreakerEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.remove(0);
        }
        self.events.push(event);
    }

    /// Whether one more purge by a client can be told of.
    #[must_use]
    pub fn admits_purge(&self) -> bool {
        self.purges.len() < MAX_PURGES
    }

    /// Keeps a purge by a client, for the control plane.
    pub fn client_purge(&mut self, purge: ClientPurge) {
        self.purges.push(purge);
    }

    /// Keeps what verified sharing has found, for the control plane. Beyond the bound it is found again.
    pub fn finding(&mut self, finding: SharingFinding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Notes a lookup, if the key is one of the sample.
    pub fn looked_up(&mut self, key: u64) {
        self.sampler.push(Event {
            key,
            ..Event::default()
        });
    }

    /// Whether it is worth knowing more of a key.
    #[must_use]
    pub fn is_sampled(&self, key: u64) -> bool {
        self.sampler.is_sampled(key)
    }

    /// Notes that a response was stored under a key, if it is one of the sample: how long it is usable, and how long fresh.
    pub fn stored(&mut self, key: u64, bytes: usize, usable_ms: u64, fresh_ms: u64, fetch_ms: u64) {
        let seconds = |ms: u64| u32::try_from(ms / 1_000).unwrap_or(u32::MAX);
        self.sampler.push(Event {
            key,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX).max(1),
            usable_s: seconds(usable_ms),
            fresh_s: seconds(fresh_ms),
            fetch_ms: u32::try_from(fetch_ms).unwrap_or(u32::MAX),
        });
    }

    /// Takes back a delta that could not be handed over.
    pub fn carry(&mut self, delta: TelemetryDelta) {
        delta::merge(&mut self.carried, &delta);
    }

    /// Everything since the last call; `None` when nothing happened.
    pub fn drain(&mut self) -> Option<TelemetryDelta> {
        let samples = self.sampler.take(self.cache.lookups);
        let mut drained = TelemetryDelta {
            requests: std::mem::take(&mut self.series)
                .into_iter()
                .map(|(key, series)| self.report(key, series))
                .collect(),
            errors: std::mem::take(&mut self.errors)
                .into_iter()
                .map(|((kind, upstream), count)| ErrorCount {
                    kind: kind.to_owned(),
                    upstream: self.names.name(upstream).to_owned(),
                    count,
                })
                .collect(),
            cache: Some(std::mem::take(&mut self.cache)).filter(|cache| *cache != CacheCounters::default()),
            breaker_events: std::mem::take(&mut self.events),
            purges: std::mem::take(&mut self.purges),
            findings: std::mem::take(&mut self.findings),
            reasons: counted(&mut self.reasons),
            lost_hits: counted(&mut self.lost_hits),
            invalidations: counted(&mut self.invalidations),
            changes: std::mem::take(&mut self.changes)
                .into_iter()
                .map(|(route, (unchanged, changed, observed_ms))| ChangeCount {
                    route: self.names.name(route).to_owned(),
                    unchanged,
                    changed,
                    observed_ms,
                })
                .collect(),
            samples,
            overhead_ns: (self.overhead.count() > 0).then(|| std::mem::take(&mut self.overhead).into()),
        };
        let carried = std::mem::take(&mut self.carried);
        if !delta::is_empty(&carried) {
            delta::merge(&mut drained, &carried);
        }
        (!delta::is_empty(&drained)).then_some(drained)
    }

    fn report(&self, key: Key, series: Series) -> RequestSeries {
        RequestSeries {
            route: self.names.name(key.route).to_owned(),
            upstream: self.names.name(key.upstream).to_owned(),
            outcome: key.outcome,
            protocol: u32::from(key.protocol),
            count: series.count,
            latency_us: Some(series.latency.into()),
            response_bytes: series.bytes,
            upstream_requests: series.upstream_requests,
            upstream_reused: series.upstream_reused,
        }
    }
}

fn counted(reasons: &mut BTreeMap<&'static str, u64>) -> Vec<ReasonCount> {
    let taken = std::mem::take(reasons).into_iter();
    let count = |(code, count): (&str, u64)| ReasonCount {
        code: code.to_owned(),
        count,
    };
    taken.map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(recorder: &mut Recorder, route: &str, latency_us: u64) -> Sample {
        Sample {
            route: recorder.name(route),
            upstream: recorder.name("api"),
            outcome: Outcome::Hit,
            protocol: 11,
            latency_us,
            bytes: 10,
            upstream_requests: 0,
            upstream_reused: 0,
        }
    }

    #[test]
    fn nothing_happened_is_nothing_to_report() {
        assert!(Recorder::default().drain().is_none());
    }

    #[test]
    fn a_drain_holds_what_was_recorded_and_empties_the_recorder() {
        let mut recorder = Recorder::default();
        for latency in 1..=100 {
            let sample = sample(&mut recorder, "a", latency);
            recorder.request(&sample);
        }
        recorder.cache.lookups += 100;
        recorder.reason(crate::cache::NotStored::NoStore);
        let delta = recorder.drain().unwrap();
        assert_eq!(delta.requests.len(), 1);
        let series = &delta.requests[0];
        assert_eq!(
            (series.count, series.response_bytes, series.route.as_str()),
            (100, 1000, "a")
        );
        assert_eq!(delta.cache.as_ref().unwrap().lookups, 100);
        assert_eq!(delta.reasons[0].count, 1);
        assert!(recorder.drain().is_none());
        recorder.carry(delta.clone());
        let sample = sample(&mut recorder, "a", 5);
        recorder.request(&sample);
        assert_eq!(
            recorder.drain().unwrap().requests[0].count,
            101,
            "what came back is merged"
        );
    }

    #[test]
    fn series_are_bounded() {
        let mut recorder = Recorder::default();
        for route in 0..2000 {
            let sample = sample(&mut recorder, &format!("route-{route}"), 1);
            recorder.request(&sample);
        }
        let delta = recorder.drain().unwrap();
        assert!(delta.requests.len() <= MAX_SERIES + 1);
        assert_eq!(delta.requests.iter().map(|series| series.count).sum::<u64>(), 2000);
    }
}
