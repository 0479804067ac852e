//! Which lookups are told for the miss-ratio curves: as many as they need at first, few of many afterwards.

use optimizer_proto::telemetry::samples::{EVERY_KEY, Event};
use optimizer_proto::v1::KeySamples;

/// Events that may be reported at once, beyond the allowance of each report.
const BURST: i64 = 16_384;
/// Events that each report may have, however few lookups there were.
const FEW: u64 = 64;
/// One event is allowed for this many lookups.
const ONE_OF: u64 = 100;

/// The sample of one VM.
#[derive(Debug)]
pub struct Sampler {
    samples: KeySamples,
    /// Keys below are sampled.
    threshold: u32,
    credit: i64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            samples: none(EVERY_KEY),
            threshold: EVERY_KEY,
            credit: BURST,
        }
    }
}

fn none(threshold: u32) -> KeySamples {
    KeySamples {
        threshold,
        ..KeySamples::default()
    }
}

impl Sampler {
    /// Whether events of a key are told.
    pub(super) fn is_sampled(&self, key: u64) -> bool {
        optimizer_proto::telemetry::samples::is_sampled(key, self.samples.threshold)
    }

    /// Notes an event, if its key is one of the sample.
    pub(super) fn push(&mut self, event: Event) {
        self.samples.push(event);
    }

    /// What was sampled since the last time, in which there were so many lookups.
    ///
    /// Too many events lower the threshold, and it stays so: a key that is sampled again after a pause would look like one never seen.
    pub(super) fn take(&mut self, lookups: u64) -> Option<KeySamples> {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.threshold = self.threshold.min(self.samples.threshold);
        self.credit = self
            .credit
            .saturating_add(signed(FEW.max(lookups / ONE_OF)))
            .saturating_sub(signed(self.samples.keys.len() as u64))
            .min(BURST);
        if self.credit < 0 {
            (self.credit, self.threshold) = (0, (self.threshold / 2).max(1));
        }
        let samples = std::mem::replace(&mut self.samples, none(self.threshold));
        (!samples.keys.is_empty()).then_some(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(sampler: &mut Sampler, lookups: u64) -> usize {
        for at in 0..lookups {
            let key = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sampler.push(Event {
                key,
                ..Event::default()
            });
        }
        sampler.take(lookups).map_or(0, |samples| samples.keys.len())
    }

    #[test]
    fn little_traffic_is_told_whole() {
        let mut sampler = Sampler::default();
        assert!((0..100).all(|_| second(&mut sampler, 60) == 60));
    }

    #[test]
    fn of_much_traffic_one_in_a_hundred_is_told() {
        let mut sampler = Sampler::default();
        for _ in 0..60 {
            second(&mut sampler, 20_000);
        }
        let told: usize = (0..100).map(|_| second(&mut sampler, 20_000)).sum();
        assert!((5_000..=20_000).contains(&told), "{told} of 2,000,000");
    }
}
