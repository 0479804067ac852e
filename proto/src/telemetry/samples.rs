//! Lookups of a sample of the keys: what miss-ratio curves are made of (SHARDS, Waldspurger et al., FAST 2015). A key is sampled by
//! its hash, so that all its lookups are or none.

use crate::v1::KeySamples;

/// The threshold at which every key is sampled.
pub const EVERY_KEY: u32 = 1 << 24;
/// Events in one delta at most; beyond, fewer keys are sampled.
pub const MAX_SAMPLES: usize = 8_192;

/// A lookup, or that a response was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Event {
    /// Hash of the cache key.
    pub key: u64,
    /// Bytes of the stored response; 0 for a lookup.
    pub bytes: u32,
    /// How long the response may be used at all, seconds.
    pub usable_s: u32,
    /// How long it stays fresh, seconds.
    pub fresh_s: u32,
    /// How long the origin took, milliseconds; 0 where it is not known.
    pub fetch_ms: u32,
}

/// Whether a key is sampled.
#[must_use]
pub fn is_sampled(key: u64, threshold: u32) -> bool {
    key >> 40 < u64::from(threshold)
}

impl KeySamples {
    /// Adds an event; when there are too many, half of the keys are given up, again and again.
    pub fn push(&mut self, event: Event) {
        if !is_sampled(event.key, self.threshold) {
            return;
        }
        self.append(event);
        while self.keys.len() > MAX_SAMPLES && self.threshold > 1 {
            self.lower(self.threshold / 2);
        }
    }

    /// Gives up the keys at or above a threshold.
    pub fn lower(&mut self, threshold: u32) {
        self.threshold = self.threshold.min(threshold);
        let all = std::mem::replace(
            self,
            Self {
                threshold: self.threshold,
                ..Self::default()
            },
        );
        for event in all.events().filter(|event| is_sampled(event.key, all.threshold)) {
            self.append(event);
        }
    }

    fn append(&mut self, event: Event) {
        self.keys.push(event.key);
        self.bytes.push(event.bytes);
        self.usable_s.push(event.usable_s);
        self.fresh_s.push(event.fresh_s);
        self.fetch_ms.push(event.fetch_ms);
    }

    /// The events in their order. A filter that did not tell how long a response is fresh is taken to mean as long as it is usable.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let lists = self.keys.iter().zip(&self.bytes).zip(&self.usable_s).enumerate();
        lists.map(|(at, ((key, bytes), usable_s))| Event {
            key: *key,
            bytes: *bytes,
            usable_s: *usable_s,
            fresh_s: self.fresh_s.get(at).copied().unwrap_or(*usable_s),
            fetch_ms: self.fetch_ms.get(at).copied().unwrap_or(0),
        })
    }
}

/// Adds samples to samples: the lower threshold holds for both.
pub(super) fn merged(into: Option<KeySamples>, from: Option<KeySamples>) -> Option<KeySamples> {
    let (mut into, from) = match (into, from) {
        (Some(into), Some(from)) => (into, from),
        (into, from) => return into.or(from),
    };
    into.lower(from.threshold);
    for event in from.events() {
        into.push(event);
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
        let event = |at, bytes| Event {
            key: key(at),
            bytes,
            ..Event::default()
        };
        for round in 0..20 {
            (0..1_000).for_each(|at| samples.push(event(at, round)));
        }
        assert!(samples.keys.len() <= MAX_SAMPLES && samples.threshold < EVERY_KEY);
        let kept = key(samples.keys.iter().position(|_| true).map_or(0, |_| 0));
        if is_sampled(kept, samples.threshold) {
            assert_eq!(samples.events().filter(|event| event.key == kept).count(), 20);
        }
        let mut other = KeySamples {
            threshold: EVERY_KEY,
            ..KeySamples::default()
        };
        (0..100).for_each(|at| other.push(event(at, 1)));
        let both = merged(Some(other), Some(samples.clone())).unwrap();
        assert!(both.events().all(|event| is_sampled(event.key, samples.threshold)));
    }
}
