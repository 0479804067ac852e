//! Lookups of a sample of the keys: what miss-ratio curves are made of (SHARDS, Waldspurger et al., FAST 2015). A key is sampled by
//! its hash, so that all its lookups are or none.

use crate::v1::KeySamples;

/// The threshold at which every key is sampled.
pub const EVERY_KEY: u32 = 1 << 24;
/// Events in one delta at most; beyond, fewer keys are sampled.
pub const MAX_SAMPLES: usize = 2_048;

/// Whether a key is sampled.
#[must_use]
pub fn is_sampled(key: u64, threshold: u32) -> bool {
    key >> 40 < u64::from(threshold)
}

impl KeySamples {
    /// Adds an event; when there are too many, half of the keys are given up, again and again.
    pub fn push(&mut self, key: u64, bytes: u32, usable_s: u32) {
        if !is_sampled(key, self.threshold) {
            return;
        }
        self.keys.push(key);
        self.bytes.push(bytes);
        self.usable_s.push(usable_s);
        while self.keys.len() > MAX_SAMPLES && self.threshold > 1 {
            self.lower(self.threshold / 2);
        }
    }

    /// Gives up the keys at or above a threshold.
    pub fn lower(&mut self, threshold: u32) {
        self.threshold = self.threshold.min(threshold);
        let (keys, bytes, usable) = (
            std::mem::take(&mut self.keys),
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.usable_s),
        );
        for ((key, bytes), usable_s) in keys.into_iter().zip(bytes).zip(usable) {
            if is_sampled(key, self.threshold) {
                self.keys.push(key);
                self.bytes.push(bytes);
                self.usable_s.push(usable_s);
            }
        }
    }

    /// The events in their order: key, bytes, seconds.
    pub fn events(&self) -> impl Iterator<Item = (u64, u32, u32)> + '_ {
        self.keys
            .iter()
            .zip(&self.bytes)
            .zip(&self.usable_s)
            .map(|((key, bytes), usable)| (*key, *bytes, *usable))
    }
}

/// Adds samples to samples: the lower threshold holds for both.
pub(super) fn merged(into: Option<KeySamples>, from: Option<KeySamples>) -> Option<KeySamples> {
    let (mut into, from) = match (into, from) {
        (Some(into), Some(from)) => (into, from),
        (into, from) => return into.or(from),
    };
    into.lower(from.threshold);
    for (key, bytes, usable_s) in from.events() {
        into.push(key, bytes, usable_s);
    }
    Some(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_events_halve_the_keys_and_keep_all_events_of_the_rest() {
        let mut samples = KeySamples {
            threshold: EVERY_KEY,
            ..KeySamples::default()
        };
        let key = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for round in 0..20 {
            (0..1_000).for_each(|at| samples.push(key(at), round, 0));
        }
        assert!(samples.keys.len() <= MAX_SAMPLES && samples.threshold < EVERY_KEY);
        let kept = key(samples.keys.iter().position(|_| true).map_or(0, |_| 0));
        if is_sampled(kept, samples.threshold) {
            assert_eq!(samples.events().filter(|(key, _, _)| *key == kept).count(), 20);
        }
        let mut other = KeySamples {
            threshold: EVERY_KEY,
            ..KeySamples::default()
        };
        (0..100).for_each(|at| other.push(key(at), 1, 1));
        let both = merged(Some(other), Some(samples.clone())).unwrap();
        assert!(both.events().all(|(key, _, _)| is_sampled(key, samples.threshold)));
    }
}
