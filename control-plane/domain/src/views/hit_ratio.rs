//! The hit ratio, also of a cache that has been idle for a while.

use crate::Millis;
use crate::fleet::Fleet;
use crate::telemetry::figure::percent;
use crate::telemetry::sum::{Filter, Sum};
use crate::telemetry::windows::Windows;

/// Hit ratio in percent: of the window, else of the last one with lookups, else 100: an idle cache misses nothing.
#[must_use]
pub fn hit_ratio(fleet: &Fleet, filter: &Filter, window: &Sum, window_ms: Millis, now_ms: Millis) -> f64 {
    if window.cache.lookups > 0 {
        return percent(window.cache.hits, window.cache.lookups);
    }
    let windows = fleet.windows_of(filter);
    if let Some(last_ms) = windows.iter().filter_map(|windows| windows.last_lookups(now_ms)).max() {
        let last = fleet.recent_of(filter, window_ms, last_ms);
        if last.cache.lookups > 0 {
            return percent(last.cache.hits, last.cache.lookups);
        }
    }
    let last_expired = windows.iter().filter_map(|windows| windows.last_expired());
    match last_expired.fold((0, 0), |sum, (hits, lookups)| (sum.0 + hits, sum.1 + lookups)) {
        (_, 0) => 100.0,
        (hits, lookups) => percent(hits, lookups),
    }
}

/// The hit ratio of one Envoy, from the windows it has of its own; falls back as [`hit_ratio`] does.
pub(super) fn hit_ratio_of(windows: &Windows, window_ms: Millis, now_ms: Millis) -> f64 {
    let recent = windows.hits_and_lookups(window_ms, now_ms);
    let last = || {
        let last_ms = windows.last_lookups(now_ms)?;
        Some(windows.hits_and_lookups(window_ms, last_ms)).filter(|(_, lookups)| *lookups > 0)
    };
    match Some(recent)
        .filter(|(_, lookups)| *lookups > 0)
        .or_else(last)
        .or(windows.last_expired())
    {
        None | Some((_, 0)) => 100.0,
        Some((hits, lookups)) => percent(hits, lookups),
    }
}
