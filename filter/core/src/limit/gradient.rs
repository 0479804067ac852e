//! A limit that follows latency: Gradient2 of Netflix's concurrency-limits. While answers take as long as they did over the last
//! minutes the limit grows by what it needs to find out; when they take longer, it shrinks in proportion.

/// How much slower than usual is still usual.
const TOLERANCE: f64 = 1.5;
/// Calls that are allowed to queue at the upstream, so that the limit can grow at all.
const HEADROOM: f64 = 4.0;
/// Share of a new estimate in the limit.
const SMOOTHING: f64 = 0.2;
/// Samples after which an old latency has lost most of its weight.
const MEMORY: f64 = 600.0;

/// One worker's estimate for one upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    limit: f64,
    usual_ms: f64,
}

impl Gradient {
    /// Starts at a limit.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit: f64::from(limit),
            usual_ms: 0.0,
        }
    }

    /// Takes in a call that took `took_ms` while `in_flight` were under way; the limit stays within `least..=most`.
    pub fn sample(&mut self, took_ms: u64, in_flight: u32, least: u32, most: u32) {
        // Below a millisecond the clock's grain would decide.
        let took = (took_ms as f64).max(1.0);
        if self.usual_ms == 0.0 {
            self.usual_ms = took;
        }
        self.usual_ms += (took - self.usual_ms) / MEMORY;
        if self.usual_ms / took > 2.0 {
            // The upstream has become much faster: forget the slow times sooner.
            self.usual_ms *= 0.95;
        }
        if f64::from(in_flight) < self.limit / 2.0 {
            // The limit was not felt, so this says nothing about it.
            return;
        }
        let gradient = (TOLERANCE * self.usual_ms / took).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + HEADROOM;
        self.limit = (self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING)
            .clamp(f64::from(least.max(1)), f64::from(most.max(1)));
    }

    /// Calls allowed at a time.
    #[must_use]
    pub fn limit(&self) -> u32 {
        // Clamped to u32 by `sample`; the cast drops the fraction.
        let whole = self.limit as u32;
        whole.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_latency_stays_and_shrinks_when_it_rises() {
        let mut gradient = Gradient::new(20);
        (0..200).for_each(|_| gradient.sample(10, gradient.limit(), 5, 100));
        assert_eq!(gradient.limit(), 100, "up to the most allowed");
        (0..50).for_each(|_| gradient.sample(100, gradient.limit(), 5, 100));
        assert!(gradient.limit() < 30, "{}", gradient.limit());
        (0..20_000).for_each(|_| gradient.sample(1_000_000, 1_000, 5, 100));
        assert!(gradient.limit() >= 5);
    }

    #[test]
    fn calls_below_the_limit_say_nothing_about_it() {
        let mut gradient = Gradient::new(50);
        (0..100).for_each(|_| gradient.sample(10_000, 3, 5, 100));
        assert_eq!(gradient.limit(), 50);
    }
}
