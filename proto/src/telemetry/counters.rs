//! The counters of telemetry: one row each. From the rows come merging, the check of a report, sums and the names of the statistics.

use crate::v1::{CacheCounters, RequestSeries};

/// What a counter counts, which bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Events, at most 2^48 in a report.
    Events,
    /// Bytes, at most 2^56 in a report.
    Bytes,
    /// Milliseconds, at most 2^56 in a report.
    Milliseconds,
}

impl Unit {
    /// Greatest count that a report can have.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            Self::Events => 1 << 48,
            Self::Bytes | Self::Milliseconds => 1 << 56,
        }
    }
}

/// One counter of a message `M`.
pub struct Counter<M: 'static> {
    /// Its field, as in `telemetry.proto`.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Its Envoy statistic, if it has one.
    pub statistic: Option<&'static str>,
    /// The label of its Prometheus series, if it has one.
    pub label: Option<&'static str>,
    get: fn(&M) -> u64,
    get_mut: fn(&mut M) -> &mut u64,
}

impl<M> Counter<M> {
    /// Its count.
    #[must_use]
    pub fn of(&self, message: &M) -> u64 {
        (self.get)(message)
    }
}

/// Adds the counters of `from` to those of `into`; sums saturate.
pub fn add<M>(rows: &[Counter<M>], into: &mut M, from: &M) {
    for row in rows {
        let sum = (row.get_mut)(into);
        *sum = sum.saturating_add(row.of(from));
    }
}

/// The first counter that is more than a report can have.
pub(super) fn impossible<M>(rows: &[Counter<M>], message: &M) -> Option<&'static str> {
    let row = rows.iter().find(|row| row.of(message) > row.unit.most())?;
    Some(row.name)
}

/// Declares the counters of a message: `field: unit, statistic, label;`. Every field of the message has a row or is among the others.
macro_rules! counters {
    (
        $(#[doc = $about:literal])+
        $table:ident of $message:ident, besides ($($other:ident),*) {
            $( $field:ident: $unit:ident, $statistic:expr, $label:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        pub const $table: &[Counter<$message>] = &[
            $( Counter {
                name: stringify!($field),
                unit: Unit::$unit,
                statistic: $statistic,
                label: $label,
                get: |message| message.$field,
                get_mut: |message| &mut message.$field,
            }, )+
        ];

        // A field without a row does not compile.
        const _: fn($message) = |$message { $( $field: _, )+ $( $other: _, )* }| {};
    };
}

counters! {
    /// What a cache did. The label is the operation of `api_optimizer_cache_operations_total`.
    CACHE of CacheCounters, besides () {
        lookups: Events, Some("api_optimizer_cache_lookups_total"), Some("lookup");
        hits: Events, Some("api_optimizer_cache_hits_total"), Some("hit");
        stores: Events, Some("api_optimizer_cache_stores_total"), Some("store");
        store_failures: Events, None, Some("store_failure");
        evictions: Events, Some("api_optimizer_cache_evictions_total"), Some("evict");
        expirations: Events, Some("api_optimizer_cache_expirations_total"), Some("expire");
        invalidations: Events, Some("api_optimizer_cache_invalidations_total"), Some("invalidate");
        collapsed: Events, None, Some("collapse");
        refreshes: Events, Some("api_optimizer_cache_refreshes_total"), Some("refresh");
        corrupt_slots: Events, Some("api_optimizer_cache_corrupt_slots_total"), Some("corrupt");
        hit_bytes: Bytes, Some("api_optimizer_cache_hit_bytes_total"), None;
        saved_ms: Milliseconds, Some("api_optimizer_cache_saved_milliseconds_total"), None;
    }
}

counters! {
    /// What the requests of a series did.
    SERIES of RequestSeries, besides (route, upstream, outcome, protocol, latency_us) {
        count: Events, None, None;
        response_bytes: Bytes, Some("api_optimizer_response_bytes_total"), None;
        upstream_requests: Events, Some("api_optimizer_upstream_requests_total"), None;
        upstream_reused: Events, Some("api_optimizer_upstream_reused_connections_total"), None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_counter_is_added_and_checked_by_itself() {
        for row in CACHE {
            let mut one = CacheCounters::default();
            *(row.get_mut)(&mut one) = row.unit.most();
            assert_eq!(impossible(CACHE, &one), None, "{}", row.name);
            let mut sum = one;
            add(CACHE, &mut sum, &one);
            assert_eq!(row.of(&sum), 2 * row.unit.most(), "{}", row.name);
            assert_eq!(impossible(CACHE, &sum), Some(row.name));
            let others = CACHE.iter().filter(|other| other.name != row.name);
            assert!(others.into_iter().all(|other| other.of(&sum) == 0), "{}", row.name);
        }
    }

    #[test]
    fn no_two_counters_have_the_same_name_in_statistics() {
        let of_cache = CACHE.iter().filter_map(|row| row.statistic);
        let names: Vec<_> = of_cache.chain(SERIES.iter().filter_map(|row| row.statistic)).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let labels: Vec<_> = CACHE.iter().filter_map(|row| row.label).collect();
        assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len());
    }
}
