//! What the fleet did lately: telemetry merged into slots of ten seconds, kept for an hour.

use crate::Millis;
use optimizer_proto::telemetry::{Sketch, delta};
use optimizer_proto::v1::{Outcome, TelemetryDelta};
use std::collections::{BTreeMap, VecDeque};

/// Length of a slot.
pub const SLOT_MS: u64 = 10_000;
/// Slots kept: one hour.
pub const SLOTS: usize = 360;

/// One slot of one Envoy.
#[derive(Debug, Clone, PartialEq)]
struct Slot {
    number: u64,
    delta: TelemetryDelta,
}

/// The windows of one Envoy process, and its totals since this control plane first heard of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Windows {
    slots: VecDeque<Slot>,
    totals: TelemetryDelta,
}

impl Windows {
    /// Merges a delta into the slot of `at_ms`. One older than the hour counts in the totals alone.
    pub fn add(&mut self, delta: TelemetryDelta, at_ms: Millis) {
        delta::merge(&mut self.totals, delta.clone());
        let number = at_ms / SLOT_MS;
        let newest = self.slots.back().map_or(number, |slot| slot.number.max(number));
        if newest - number >= SLOTS as u64 {
            return;
        }
        let place = self.slots.partition_point(|slot| slot.number < number);
        match self.slots.get_mut(place) {
            Some(slot) if slot.number == number => delta::merge(&mut slot.delta, delta),
            _ => self.slots.insert(place, Slot { number, delta }),
        }
        while self
            .slots
            .front()
            .is_some_and(|slot| newest - slot.number >= SLOTS as u64)
        {
            self.slots.pop_front();
        }
    }

    /// Everything in the slots that touch the last `window_ms`.
    pub fn recent(&self, window_ms: Millis, now_ms: Millis) -> impl Iterator<Item = &TelemetryDelta> {
        self.recent_slots(window_ms, now_ms).map(|(_, delta)| delta)
    }

    /// As [`Windows::recent`], each with the end of its slot.
    pub fn recent_slots(&self, window_ms: Millis, now_ms: Millis) -> impl Iterator<Item = (Millis, &TelemetryDelta)> {
        let first = now_ms.saturating_sub(window_ms) / SLOT_MS;
        let last = now_ms / SLOT_MS;
        self.slots
            .iter()
            .filter(move |slot| (first..=last).contains(&slot.number))
            .map(move |slot| (((slot.number + 1) * SLOT_MS).min(now_ms), &slot.delta))
    }

    /// Everything ever heard.
    #[must_use]
    pub fn totals(&self) -> &TelemetryDelta {
        &self.totals
    }
}

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
    fn is_whole(&self) -> bool {
        self.route.is_none() && self.upstream.is_none()
    }
}

/// Where and when failures of a type were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorExample {
    /// End of the newest slot with one.
    pub last_seen_ms: Millis,
    /// Upstreams, a few of them.
    pub upstreams: std::collections::BTreeSet<String>,
}

/// Upstreams named per type of failure.
const EXAMPLES: usize = 5;

/// Deltas of many slots and Envoys added up into figures.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Requests by outcome.
    pub by_outcome: BTreeMap<i32, u64>,
    /// Latency of all requests, microseconds.
    pub latency: Sketch,
    /// Latency of requests answered from the cache.
    pub latency_hit: Sketch,
    /// Latency of requests that were forwarded.
    pub latency_forwarded: Sketch,
    /// Time inside the filter, nanoseconds.
    pub overhead: Sketch,
    /// Failures by type.
    pub errors: BTreeMap<String, u64>,
    /// Where and when failures were seen, by type.
    pub error_examples: BTreeMap<String, ErrorExample>,
    /// Why responses were not stored or not reused.
    pub reasons: BTreeMap<String, u64>,
    /// Cache counters.
    pub cache: optimizer_proto::v1::CacheCounters,
    /// Content bytes sent to clients.
    pub response_bytes: u64,
    /// Breaker transitions.
    pub transitions: u64,
}

impl Sum {
    /// Adds a delta.
    pub fn add(&mut self, delta: &TelemetryDelta) {
        self.add_of(&Filter::default(), delta, 0);
    }

    /// Adds the part of a delta, closed at `at_ms`, that a figure is about. What the caches count is not told apart by route or
    /// upstream; then lookups and hits are those of the requests.
    pub fn add_of(&mut self, filter: &Filter, delta: &TelemetryDelta, at_ms: Millis) {
        self.add_requests(filter, delta);
        self.add_errors(filter, delta, at_ms);
        if filter.is_whole() {
            self.add_whole(delta);
        }
    }

    fn add_requests(&mut self, filter: &Filter, delta: &TelemetryDelta) {
        let about = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        for series in &delta.requests {
            if !about(&filter.route, &series.route) || !about(&filter.upstream, &series.upstream) {
                continue;
            }
            if !filter.is_whole() {
                let outcome = Outcome::try_from(series.outcome).unwrap_or_default();
                let hit = matches!(outcome, Outcome::Hit | Outcome::Stale);
                let looked_up = hit || matches!(outcome, Outcome::Revalidated | Outcome::Miss);
                self.cache.hits += if hit { series.count } else { 0 };
                self.cache.lookups += if looked_up { series.count } else { 0 };
            }
            *self.by_outcome.entry(series.outcome).or_default() += series.count;
            self.response_bytes = self.response_bytes.saturating_add(series.response_bytes);
            let Some(sketch) = series
                .latency_us
                .clone()
                .and_then(|sketch| Sketch::try_from(sketch).ok())
            else {
                continue;
            };
            self.latency.merge(&sketch);
            match Outcome::try_from(series.outcome) {
                Ok(Outcome::Hit | Outcome::Stale) => self.latency_hit.merge(&sketch),
                Ok(Outcome::Shed) | Err(_) => {}
                Ok(_) => self.latency_forwarded.merge(&sketch),
            }
        }
    }

    fn add_errors(&mut self, filter: &Filter, delta: &TelemetryDelta, at_ms: Millis) {
        for error in &delta.errors {
            if filter.upstream.as_ref().is_some_and(|wanted| *wanted != error.upstream) {
                continue;
            }
            *self.errors.entry(error.kind.clone()).or_default() += error.count;
            let example = self.error_examples.entry(error.kind.clone()).or_default();
            example.last_seen_ms = example.last_seen_ms.max(at_ms);
            if example.upstreams.len() < EXAMPLES {
                example.upstreams.insert(error.upstream.clone());
            }
        }
    }

    fn add_whole(&mut self, delta: &TelemetryDelta) {
        for reason in &delta.reasons {
            *self.reasons.entry(reason.code.clone()).or_default() += reason.count;
        }
        if let Some(sketch) = delta
            .overhead_ns
            .clone()
            .and_then(|sketch| Sketch::try_from(sketch).ok())
        {
            self.overhead.merge(&sketch);
        }
        if let Some(cache) = delta.cache {
            let sum = &mut self.cache;
            for (to, from) in [
                (&mut sum.lookups, cache.lookups),
                (&mut sum.hits, cache.hits),
                (&mut sum.stores, cache.stores),
                (&mut sum.store_failures, cache.store_failures),
                (&mut sum.evictions, cache.evictions),
                (&mut sum.expirations, cache.expirations),
                (&mut sum.invalidations, cache.invalidations),
                (&mut sum.corrupt_slots, cache.corrupt_slots),
                (&mut sum.hit_bytes, cache.hit_bytes),
                (&mut sum.lookup_bytes, cache.lookup_bytes),
                (&mut sum.collapsed, cache.collapsed),
            ] {
                *to = to.saturating_add(from);
            }
        }
        self.transitions += delta.breaker_events.len() as u64;
    }

    /// Requests of one outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.by_outcome.get(&(outcome as i32)).copied().unwrap_or(0)
    }

    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.by_outcome
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::CacheCounters;

    fn lookups(lookups: u64) -> TelemetryDelta {
        TelemetryDelta {
            cache: Some(CacheCounters {
                lookups,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn seen(windows: &Windows, window_ms: u64, now_ms: u64) -> u64 {
        let mut sum = Sum::default();
        windows.recent(window_ms, now_ms).for_each(|delta| sum.add(delta));
        sum.cache.lookups
    }

    #[test]
    fn a_window_sees_its_own_slots_in_any_order_of_arrival() {
        let mut windows = Windows::default();
        for at_ms in [3_600_000, 3_000_000, 3_590_000, 3_600_500] {
            windows.add(lookups(1), at_ms);
        }
        assert_eq!(seen(&windows, 60_000, 3_601_000), 3);
        assert_eq!(seen(&windows, 3_600_000, 3_601_000), 4);
        assert_eq!(seen(&windows, 60_000, 9_000_000), 0);
        assert_eq!(windows.totals().cache.as_ref().unwrap().lookups, 4);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut windows = Windows::default();
        for slot in 0..1_000 {
            windows.add(lookups(1), slot * SLOT_MS);
        }
        assert_eq!(windows.slots.len(), SLOTS);
        windows.add(lookups(1), 0);
        assert_eq!(windows.slots.len(), SLOTS, "too late for a slot");
        assert_eq!(windows.totals().cache.as_ref().unwrap().lookups, 1_001);
    }
}
