//! When not to ask the shared tier: a breaker of its own, per worker. What a lost tier costs is a deadline per request, and only
//! until this opens.

use crate::Millis;

/// When it opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierLimits {
    /// Answers missing in a row.
    pub failures: u32,
    /// How long it stays open.
    pub wait_ms: u64,
}

/// The breaker.
#[derive(Debug, Default)]
pub struct TierBreaker {
    failures: u32,
    /// 0: closed.
    open_until_ms: Millis,
    /// One call is on its way to see whether the tier is back, since then.
    probing_since_ms: Option<Millis>,
}

impl TierBreaker {
    /// Whether a call may be made now; when open, one may after the wait.
    pub fn admits(&mut self, limits: TierLimits, now_ms: Millis) -> bool {
        if self.open_until_ms == 0 {
            return true;
        }
        // A time far ahead comes from a clock that has since jumped back.
        let over = now_ms >= self.open_until_ms || self.open_until_ms > now_ms.saturating_add(2 * limits.wait_ms);
        // A probe whose answer was lost must not keep it open for ever.
        let probed = self
            .probing_since_ms
            .is_some_and(|since| now_ms.abs_diff(since) < 2 * limits.wait_ms);
        if !over || probed {
            return false;
        }
        self.probing_since_ms = Some(now_ms);
        true
    }

    /// Nothing speaks against telling the tier something.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.open_until_ms == 0
    }

    /// An answer came.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// No answer came in time.
    pub fn failed(&mut self, limits: TierLimits, now_ms: Millis) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limits.failures || self.probing_since_ms.is_some() {
            self.open_until_ms = now_ms.saturating_add(limits.wait_ms).max(1);
            self.probing_since_ms = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TierLimits = TierLimits {
        failures: 3,
        wait_ms: 1_000,
    };

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_a_probe() {
        let mut breaker = TierBreaker::default();
        for _ in 0..2 {
            breaker.failed(LIMITS, 10);
        }
        breaker.succeeded();
        for _ in 0..3 {
            assert!(breaker.admits(LIMITS, 10));
            breaker.failed(LIMITS, 10);
        }
        assert!(!breaker.admits(LIMITS, 1_009));
        assert!(breaker.admits(LIMITS, 1_010), "one probe");
        assert!(!breaker.admits(LIMITS, 1_010), "and no second one");
        breaker.failed(LIMITS, 1_020);
        assert!(!breaker.admits(LIMITS, 2_019));
        assert!(breaker.admits(LIMITS, 2_020));
        breaker.succeeded();
        assert!(breaker.admits(LIMITS, 2_020) && breaker.admits(LIMITS, 2_020));
    }

    #[test]
    fn neither_a_lost_probe_nor_a_clock_that_jumps_back_keeps_it_open() {
        let mut breaker = TierBreaker::default();
        (0..3).for_each(|_| breaker.failed(LIMITS, 100_000));
        assert!(breaker.admits(LIMITS, 101_000));
        assert!(!breaker.admits(LIMITS, 102_999));
        assert!(breaker.admits(LIMITS, 103_000));
        let mut breaker = TierBreaker::default();
        (0..3).for_each(|_| breaker.failed(LIMITS, 100_000));
        assert!(breaker.admits(LIMITS, 50));
    }
}
