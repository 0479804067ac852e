//! What the fleet did, added up over the part of it that is asked for.

use crate::Millis;
use crate::fleet::{Envoy, Fleet};
use crate::telemetry::sum::{Filter, Sum};
use crate::telemetry::windows::Windows;

impl Fleet {
    /// What the fleet did in the last `window_ms`.
    #[must_use]
    pub fn recent(&self, window_ms: Millis, now_ms: Millis) -> Sum {
        self.recent_of(&Filter::default(), window_ms, now_ms)
    }

    /// As [`Fleet::recent`], of a part of the traffic.
    #[must_use]
    pub fn recent_of(&self, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Sum {
        let mut sum = Sum::default();
        for windows in self.windows_of(filter) {
            for (at_ms, delta) in windows.recent(window_ms, now_ms) {
                sum.add_of(filter, &delta, at_ms);
            }
        }
        sum
    }

    /// What the fleet did since this control plane started.
    #[must_use]
    pub fn totals(&self) -> Sum {
        let mut sum = Sum::default();
        sum.add(&self.totals);
        sum
    }

    /// The windows to look into: those of the whole fleet, or of the Envoys that are asked for.
    #[must_use]
    pub fn windows_of(&self, filter: &Filter) -> Vec<&Windows> {
        if filter.envoy.is_none() {
            return vec![&self.windows];
        }
        self.envoys_of(filter).map(|(_, envoy)| &envoy.windows).collect()
    }

    /// The time behind the figures of a window.
    #[must_use]
    pub fn covered_ms(&self, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Millis {
        let covered = self
            .windows_of(filter)
            .into_iter()
            .map(|windows| windows.covered_ms(window_ms, now_ms));
        covered.max().unwrap_or(window_ms)
    }

    /// Requests per second: each Envoy's by the time it speaks for, added up. One that came back from an outage, or has just
    /// started, neither thins nor swells the rest. `window` is the sum of the same window.
    #[must_use]
    pub fn requests_per_second(&self, filter: &Filter, window: &Sum, window_ms: Millis, now_ms: Millis) -> f64 {
        if !filter.is_whole() {
            return window.requests() as f64 * 1_000.0 / self.covered_ms(filter, window_ms, now_ms) as f64;
        }
        self.envoys_of(filter)
            .map(|(_, envoy)| {
                let covered_ms = envoy.windows.covered_ms(window_ms, now_ms);
                envoy.windows.requests(window_ms, now_ms) as f64 * 1_000.0 / covered_ms as f64
            })
            .sum()
    }

    /// Envoys there now, of those asked for.
    pub fn present_of(&self, filter: &Filter, now_ms: Millis) -> impl Iterator<Item = (&str, &Envoy)> {
        self.envoys_of(filter)
            .filter(move |(_, envoy)| envoy.is_present(now_ms))
    }

    /// The node of the Envoy that is asked for; `None` when all are.
    #[must_use]
    pub fn node_of<'a>(&'a self, filter: &'a Filter) -> Option<&'a str> {
        let wanted = filter.envoy.as_deref()?;
        let found = self.envoys().find(|(name, _)| *name == wanted);
        Some(found.map_or(wanted, |(_, envoy)| envoy.node_id.as_str()))
    }

    fn envoys_of<'a>(&'a self, filter: &Filter) -> impl Iterator<Item = (&'a str, &'a Envoy)> + use<'a> {
        let wanted = filter.envoy.clone();
        self.envoys().filter(move |(name, envoy)| {
            let is_wanted = |wanted: &String| wanted == name || *wanted == envoy.node_id;
            wanted.as_ref().is_none_or(is_wanted)
        })
    }
}
