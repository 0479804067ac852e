//! What a cache of another size would do: miss-ratio curves from a sample of the keys (SHARDS).
//!
//! The distance of a lookup is how many other keys were looked up since the last lookup of its own. A cache that holds more entries
//! than that would have it. Only sampled keys are followed, a share R of all; a distance among them stands for 1/R times as much.

mod curve;
mod order;

pub use curve::{Curve, Prediction};

use crate::Millis;
use optimizer_proto::telemetry::samples::{EVERY_KEY, is_sampled};
use optimizer_proto::v1::{CacheCounters, KeySamples};
use order::Order;
use std::collections::HashMap;

/// Keys followed per Envoy: less than a megabyte. Beyond, fewer are sampled.
const MAX_KEYS: usize = 6_144;
/// Memory a stored response takes beyond its bytes.
const OVERHEAD: u64 = 374;

#[derive(Debug, Clone, Copy)]
struct Key {
    place: u32,
    bytes: u32,
    usable_until: Millis,
}

/// The lookups of one Envoy.
#[derive(Debug, Clone, Default)]
pub struct WhatIf {
    threshold: u32,
    keys: HashMap<u64, Key>,
    order: Order,
    curve: Curve,
}

impl WhatIf {
    /// Takes in what an Envoy reports.
    ///
    /// Lookups of a report without samples count as well: they were of keys outside of the sample.
    pub fn take(&mut self, samples: Option<&KeySamples>, cache: Option<&CacheCounters>, now_ms: Millis) {
        if let Some(samples) = samples {
            self.take_samples(samples, now_ms);
        }
        if let Some(cache) = cache.filter(|_| self.threshold > 0) {
            self.curve.account(cache.lookups, self.share());
        }
    }

    fn take_samples(&mut self, samples: &KeySamples, now_ms: Millis) {
        let before = self.threshold;
        self.threshold = match self.threshold {
            0 => samples.threshold.clamp(1, EVERY_KEY),
            own => own.min(samples.threshold.max(1)),
        };
        if self.threshold < before {
            self.forget();
        }
        for (key, bytes, usable_s) in samples.events() {
            if !is_sampled(key, self.threshold) {
                continue;
            }
            if bytes == 0 {
                self.looked_up(key, now_ms);
            } else {
                self.stored(key, bytes, now_ms.saturating_add(u64::from(usable_s) * 1_000));
            }
        }
    }

    /// Share of the keys that is followed.
    fn share(&self) -> f64 {
        f64::from(self.threshold) / f64::from(EVERY_KEY)
    }

    fn looked_up(&mut self, key: u64, now_ms: Millis) {
        match self.keys.get(&key).copied() {
            Some(known) => {
                let (entries, bytes) = self.order.after(known.place);
                let fresh = known.bytes > 0 && known.usable_until > now_ms;
                self.curve.seen((entries, bytes), known.bytes, self.share(), fresh);
                self.order.remove(known.place);
                self.place(key, Key { ..known });
            }
            None => {
                self.curve.first();
                self.place(
                    key,
                    Key {
                        place: 0,
                        bytes: 0,
                        usable_until: 0,
                    },
                );
            }
        }
    }

    fn stored(&mut self, key: u64, bytes: u32, usable_until: Millis) {
        if let Some(known) = self.keys.get_mut(&key) {
            if known.bytes == 0 {
                // The first lookup could not know its size.
                self.curve.sized(bytes);
            }
            self.order
                .resize(known.place, u64::from(bytes) + if bytes > 0 { OVERHEAD } else { 0 });
            (known.bytes, known.usable_until) = (bytes, usable_until);
        }
    }

    fn place(&mut self, key: u64, mut state: Key) {
        let size = if state.bytes > 0 {
            u64::from(state.bytes) + OVERHEAD
        } else {
            0
        };
        if self.order.is_full() {
            self.renumber();
        }
        state.place = self.order.push(size);
        self.keys.insert(key, state);
        while self.keys.len() > MAX_KEYS && self.threshold > 1 {
            self.threshold /= 2;
            self.forget();
        }
    }

    /// Gives up the keys that are not sampled any more.
    fn forget(&mut self) {
        let threshold = self.threshold;
        let order = &mut self.order;
        self.keys.retain(|key, state| {
            let stays = is_sampled(*key, threshold);
            if !stays {
                order.remove(state.place);
            }
            stays
        });
    }

    /// Moves all places together at the beginning.
    fn renumber(&mut self) {
        let mut states: Vec<&mut Key> = self.keys.values_mut().collect();
        states.sort_unstable_by_key(|state| state.place);
        self.order = Order::default();
        for state in states {
            let size = if state.bytes > 0 {
                u64::from(state.bytes) + OVERHEAD
            } else {
                0
            };
            state.place = self.order.push(size);
        }
    }

    /// What is known so far.
    #[must_use]
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Keys followed, as a measure of how much is behind a prediction.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(at: u64) -> u64 {
        let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// Skewed choice of one of `keys` keys.
    fn pick(state: &mut u64, keys: u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let unit = (*state >> 11) as f64 / (1_u64 << 53) as f64;
        // Inverse of a power law: a Zipf-like skew without tables.
        ((keys as f64).powf(unit) - 1.0) as u64
    }

    fn lru_hit_ratio(size: usize, keys: u64, lookups: usize) -> f64 {
        let (mut state, mut cache, mut hits) = (88_172_645_463_325_252, Vec::<u64>::new(), 0);
        for _ in 0..lookups {
            let key = pick(&mut state, keys);
            match cache.iter().position(|held| *held == key) {
                Some(at) => {
                    hits += 1;
                    cache.remove(at);
                }
                None if cache.len() >= size => drop(cache.remove(0)),
                None => {}
            }
            cache.push(key);
        }
        hits as f64 * 100.0 / lookups as f64
    }

    fn predicted(size: u64, keys: u64, lookups: usize) -> f64 {
        let mut what_if = WhatIf::default();
        let mut state = 88_172_645_463_325_252;
        for _ in 0..lookups / 1_000 {
            let mut samples = KeySamples {
                threshold: EVERY_KEY,
                ..KeySamples::default()
            };
            let mut events = 0;
            for _ in 0..1_000 {
                let key = hash(pick(&mut state, keys));
                events += 1;
                samples.push(key, 0, 0);
                samples.push(key, 1_000, 3_600);
            }
            let cache = CacheCounters {
                lookups: events,
                ..CacheCounters::default()
            };
            what_if.take(Some(&samples), Some(&cache), 1_000);
        }
        what_if.curve().predict(size, u64::MAX).hit_ratio
    }

    #[test]
    fn predictions_are_within_two_points_of_a_real_lru() {
        for (keys, size) in [(5_000, 100), (5_000, 500), (5_000, 2_000), (50_000, 5_000)] {
            let (real, predicted) = (lru_hit_ratio(size, keys, 60_000), predicted(size as u64, keys, 60_000));
            assert!(
                (real - predicted).abs() <= 2.0,
                "{keys} keys, size {size}: {real} and {predicted}"
            );
        }
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut what_if = WhatIf::default();
        for round in 0..40_u64 {
            let mut samples = KeySamples {
                threshold: EVERY_KEY,
                ..KeySamples::default()
            };
            (0..1_500).for_each(|at| samples.push(hash(round * 1_500 + at), 0, 0));
            what_if.take(Some(&samples), None, 0);
        }
        assert!(what_if.keys() <= MAX_KEYS);
        assert!(what_if.threshold < EVERY_KEY);
    }

    #[test]
    fn what_has_expired_is_a_miss_whatever_the_size() {
        let mut what_if = WhatIf::default();
        for second in 0..100_u64 {
            let mut samples = KeySamples {
                threshold: EVERY_KEY,
                ..KeySamples::default()
            };
            samples.push(7, 0, 0);
            samples.push(7, 100, 5);
            let cache = CacheCounters {
                lookups: 1,
                ..CacheCounters::default()
            };
            what_if.take(Some(&samples), Some(&cache), second * 10_000);
        }
        assert!(what_if.curve().predict(1_000_000, u64::MAX).hit_ratio < 1.0);
    }
}
