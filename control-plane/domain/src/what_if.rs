//! What a cache of another size or policy would do, from a sample of the keys (SHARDS, Waldspurger et al., FAST 2015): miniature caches of
//! many sizes, one row for each policy, are led through the sampled lookups.
//!
//! A share R of the keys is followed; a cache of R times the entries has the hit ratio of the whole one.

mod curve;
mod keys;
mod mini;
mod page;
mod slot;

#[cfg(test)]
mod tests;

pub use curve::{Curve, Prediction};

use crate::Millis;
use curve::{GROUPS, Hits, Lookups};
use eviction::worth::{cost, replaced_cost};
use keys::{KeyId, Keys};
use mini::Mini;
use optimizer_proto::settings::EvictionPolicy;
use optimizer_proto::telemetry::samples::{EVERY_KEY, Event, is_sampled};
use optimizer_proto::v1::{CacheCounters, KeySamples};
use slot::Now;

/// Keys followed of one Envoy at most: with all miniature caches less than a megabyte.
pub const MOST_KEYS: usize = 2_048;
/// Keys followed at least of one Envoy among thousands.
pub const LEAST_KEYS: usize = 256;
/// A key makes room for another one this long after its last lookup.
const IDLE_MS: Millis = 3_600_000;
/// Counts are halved after this many lookups, so that old traffic is forgotten.
const FORGET_AT: f64 = 200_000.0;
/// Sizes that are tried: the smallest, and how much larger each is than the one before.
const SMALLEST: f64 = 64.0;
const STEP: f64 = 1.5;
const SIZES: usize = 25;
/// Memory a stored response takes beyond its bytes.
const OVERHEAD: f64 = 374.0;

/// A miniature cache with its hits.
#[derive(Debug, Clone)]
struct Trial {
    size: u64,
    mini: Mini,
    hits: Hits,
}

/// All sizes under one policy.
#[derive(Debug, Clone)]
struct Row {
    policy: EvictionPolicy,
    trials: Vec<Trial>,
}

/// The lookups of one Envoy.
#[derive(Debug, Clone, Default)]
pub struct WhatIf {
    threshold: u32,
    most: usize,
    keys: Keys,
    lookups: Lookups,
    seen: u64,
    at: u32,
    rows: Vec<Row>,
}

fn sizes() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(SMALLEST), |size| Some(size * STEP))
        .map(|size| size.round() as u64)
        .take(SIZES)
}

impl WhatIf {
    /// Takes in what an Envoy reports; at most `most` of its keys are followed.
    ///
    /// Lookups of a report without samples count as well: they were of keys outside of the sample.
    pub fn take(&mut self, samples: Option<&KeySamples>, cache: Option<&CacheCounters>, most: usize, now_ms: Millis) {
        if let Some(samples) = samples {
            self.begin(most.clamp(LEAST_KEYS, MOST_KEYS));
            self.follow_less(samples.threshold.clamp(1, EVERY_KEY));
            for event in samples.events() {
                self.event(&event, now_ms);
            }
        }
        if let Some(cache) = cache.filter(|_| self.threshold > 0) {
            let lookups = cache.lookups as f64;
            self.lookups.expected += lookups * self.share();
        }
        if self.lookups.expected > FORGET_AT {
            self.scale(0.5);
        }
    }

    /// Only an Envoy that reports lookups costs the memory.
    fn begin(&mut self, most: usize) {
        self.most = most;
        if !self.rows.is_empty() {
            return;
        }
        self.threshold = EVERY_KEY;
        let row = |(_, policy): &(&str, EvictionPolicy)| Row {
            policy: *policy,
            trials: sizes()
                .map(|size| Trial {
                    size,
                    mini: Mini::new(page::of(*policy), size, 1.0, most),
                    hits: Hits::default(),
                })
                .collect(),
        };
        self.rows = EvictionPolicy::WORDS.iter().map(row).collect();
    }

    fn scale(&mut self, by: f64) {
        self.lookups.scale(by);
        let trials = self.rows.iter_mut().flat_map(|row| &mut row.trials);
        trials.for_each(|trial| trial.hits.scale(by));
    }

    /// Share of the keys that is followed.
    fn share(&self) -> f64 {
        f64::from(self.threshold) / f64::from(EVERY_KEY)
    }

    fn event(&mut self, event: &Event, now_ms: Millis) {
        if !is_sampled(event.key, self.threshold) {
            return;
        }
        if event.bytes == 0 {
            self.looked_up(event.key, now_ms);
        } else if let Some(id) = self.keys.find(event.key) {
            self.stored(id, event, now_ms);
        }
    }

    fn looked_up(&mut self, hash: u64, now_ms: Millis) {
        let Some(id) = self.keys.find(hash).or_else(|| self.followed(hash, now_ms)) else {
            return;
        };
        self.at = self.at.wrapping_add(1);
        let key = self.keys.get(id);
        let (group, bytes) = (group(hash), f64::from(key.bytes));
        let now = Now {
            keys: &self.keys,
            at: self.at,
            ms: now_ms,
        };
        for trial in self.rows.iter_mut().flat_map(|row| &mut row.trials) {
            if trial.mini.look_up(id, &key, &now) {
                add(&mut trial.hits.groups, group, 1.0);
                add(&mut trial.hits.bytes, group, bytes);
            }
        }
        self.seen += 1;
        add(&mut self.lookups.groups, group, 1.0);
        add(&mut self.lookups.bytes, group, bytes);
        if let Some(key) = self.keys.get_mut(id) {
            (key.used, key.used_ms) = (self.at, now_ms);
        }
    }

    /// A key that was not followed so far; others may have to go for it.
    fn followed(&mut self, hash: u64, now_ms: Millis) -> Option<KeyId> {
        if self.keys.len() >= self.most {
            let since = now_ms.saturating_sub(IDLE_MS);
            self.forget(|key| key.used_ms >= since);
        }
        while self.keys.len() >= self.most && self.threshold > 1 {
            self.follow_less(self.threshold / 2);
        }
        if is_sampled(hash, self.threshold) {
            self.keys.add(hash)
        } else {
            None
        }
    }

    fn stored(&mut self, id: KeyId, event: &Event, now_ms: Millis) {
        let Some(key) = self.keys.get_mut(id) else { return };
        let before = key.bytes;
        let until = |seconds: u32| now_ms.saturating_add(u64::from(seconds) * 1_000);
        key.bytes = event.bytes;
        let cost = cost(u64::from(event.fetch_ms));
        key.cost = if before > 0 {
            replaced_cost(key.cost, cost)
        } else {
            cost
        };
        (key.fresh_until, key.usable_until) = (until(event.fresh_s), until(event.usable_s));
        let key = *key;
        let now = Now {
            keys: &self.keys,
            at: self.at,
            ms: now_ms,
        };
        for trial in self.rows.iter_mut().flat_map(|row| &mut row.trials) {
            trial.mini.resized(id, before, key.bytes);
            if before == 0 {
                trial.mini.admit(id, &key, &now);
            }
        }
        if before == 0 {
            // Its first lookup could not know its size.
            add(&mut self.lookups.bytes, group(key.hash), f64::from(key.bytes));
        }
    }

    fn follow_less(&mut self, threshold: u32) {
        if threshold < self.threshold {
            // What was counted when more keys were followed must not weigh more than what is counted from here on.
            self.scale(f64::from(threshold) / f64::from(self.threshold));
            self.threshold = threshold;
            self.forget(|key| is_sampled(key.hash, threshold));
        }
    }

    fn forget(&mut self, stays: impl Fn(&keys::Key) -> bool) {
        let gone = self.keys.retain(stays);
        let (keys, share, most) = (&self.keys, f64::from(self.threshold) / f64::from(EVERY_KEY), self.most);
        for trial in self.rows.iter_mut().flat_map(|row| &mut row.trials) {
            trial.mini.forget(&gone, keys, share, most);
        }
    }

    /// What is known so far about a policy.
    #[must_use]
    pub fn curve(&self, policy: EvictionPolicy) -> Curve {
        let mut curve = Curve::of(self.seen);
        let row = self.rows.iter().find(|row| row.policy == policy);
        for trial in row.into_iter().flat_map(|row| &row.trials) {
            let (entries, bytes) = trial.mini.held();
            let held = bytes as f64 + entries as f64 * OVERHEAD;
            curve.count(trial.size, &self.lookups, &trial.hits, self.share(), held);
        }
        curve
    }

    /// Sampled lookups so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.seen
    }

    /// Bytes of memory that following takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let trials = self.rows.iter().flat_map(|row| &row.trials);
        let minis = trials.map(|trial| size_of::<Trial>() + trial.mini.memory());
        self.keys.memory() + minis.sum::<usize>()
    }
}

fn add(groups: &mut [f64; GROUPS], group: usize, amount: f64) {
    if let Some(sum) = groups.get_mut(group) {
        *sum += amount;
    }
}

fn group(hash: u64) -> usize {
    // Neither the bits that pick the sample nor those that pick a page decide.
    usize::try_from(hash >> 34).unwrap_or(0) % GROUPS
}
