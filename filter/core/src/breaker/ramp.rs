//! Recovery without a second spike: after an outage everything stored is stale at once, and an upstream that has just come back
//! would be asked for all of it. Calls that can wait, because a stale response serves meanwhile, get no more places than the upstream
//! had calls before the outage; calls that cannot wait always go, and count.

use crate::Millis;

/// Milli-calls a call costs.
const CALL: i64 = 1_000;
/// Share of the usual rate that is let through at first, percent. What is asked at once beyond it stays below a fifth more than usual.
const SHARE_PERCENT: u64 = 105;
/// Milliseconds whose calls may be made at once.
const BURST_MS: u64 = 50;
/// Calls that could not wait are paid back by those that can, for at most this time's worth.
const DEBT_MS: u64 = 1_000;
/// The recovery ends when its ramp is over and no call had to wait for this time. Not before the end of the ramp: what
/// was fetched during it expires in waves, and after some seconds without waiting several of them may coincide.
const QUIET_MS: u64 = 2_000;

/// The bucket of tokens of one recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ramp {
    /// Calls per window that went well before the outage.
    pub(super) usual: u64,
    /// When the recovery began; 0 = none under way.
    pub(super) since_ms: Millis,
    pub(super) filled_ms: Millis,
    /// When a call last had to wait.
    pub(super) deferred_ms: Millis,
    pub(super) tokens: i64,
}

impl Ramp {
    pub(super) fn is_under_way(&self) -> bool {
        self.since_ms > 0
    }

    pub(super) fn begin(&mut self, now_ms: Millis) {
        *self = Self {
            usual: self.usual,
            since_ms: now_ms.max(1),
            filled_ms: now_ms,
            deferred_ms: now_ms,
            tokens: 0,
        };
    }

    pub(super) fn end(&mut self) {
        *self = Self {
            usual: self.usual,
            ..Self::default()
        };
    }

    /// Whether a call may be made now. `can_wait`: something stale serves in its place.
    pub(super) fn admit(&mut self, can_wait: bool, window_ms: Millis, ramp_ms: Millis, now_ms: Millis) -> bool {
        let clock_went_back = now_ms < self.filled_ms;
        let behind = now_ms.saturating_sub(self.since_ms) > ramp_ms;
        let quiet = now_ms.saturating_sub(self.deferred_ms) > QUIET_MS;
        if ramp_ms == 0 || clock_went_back || (behind && quiet) {
            self.end();
            return true;
        }
        let per_second = self.per_second_milli(window_ms, ramp_ms, now_ms);
        let of = |ms: u64| i64::try_from(per_second.saturating_mul(ms) / 1_000).unwrap_or(i64::MAX);
        let gained = of(now_ms - self.filled_ms);
        if gained > 0 {
            self.filled_ms = now_ms;
            self.tokens = self.tokens.saturating_add(gained).min(of(BURST_MS).max(CALL));
        }
        if can_wait && self.tokens < CALL {
            self.deferred_ms = now_ms;
            return false;
        }
        self.tokens = self.tokens.saturating_sub(CALL).max(-of(DEBT_MS));
        true
    }

    /// Milli-calls per second: a little over the usual rate, and twice as much with each `ramp_ms` that it does not suffice, so that a
    /// rate measured in a quiet hour does not hold a busy one down.
    fn per_second_milli(&self, window_ms: Millis, ramp_ms: Millis, now_ms: Millis) -> u64 {
        let doublings = (now_ms.saturating_sub(self.since_ms) / ramp_ms.max(1)).min(20);
        let usual = self.usual.saturating_mul(1_000_000) / window_ms.max(1);
        (usual.saturating_mul(SHARE_PERCENT) / 100) << doublings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls admitted per second to an upstream that usually had 100 a second, when 1,000 a second can wait.
    fn admitted(seconds: u64, ramp_ms: u64) -> Vec<u64> {
        let mut ramp = Ramp {
            usual: 1_000,
            ..Ramp::default()
        };
        ramp.begin(1_000_000);
        (0..seconds)
            .map(|second| {
                (0..1_000)
                    .filter(|ms| ramp.admit(true, 10_000, ramp_ms, 1_000_000 + second * 1_000 + ms))
                    .count() as u64
            })
            .collect()
    }

    #[test]
    fn at_most_a_fifth_more_than_usual_until_the_ramp_has_passed() {
        let counts = admitted(12, 10_000);
        assert!(
            counts[..10].iter().all(|count| (95..=120).contains(count)),
            "{counts:?}"
        );
        assert!((190..=240).contains(&counts[11]), "{counts:?}");
    }

    #[test]
    fn what_cannot_wait_goes_and_what_can_pays_for_it() {
        let mut ramp = Ramp {
            usual: 1_000,
            ..Ramp::default()
        };
        ramp.begin(1_000_000);
        let mut waiting = 0;
        for ms in 0..1_000 {
            if ms % 20 == 0 {
                assert!(ramp.admit(false, 10_000, 30_000, 1_000_000 + ms));
            }
            waiting += u64::from(ramp.admit(true, 10_000, 30_000, 1_000_000 + ms));
        }
        assert!(
            (45..=60).contains(&waiting),
            "50 places a second are taken, got {waiting}"
        );
    }

    #[test]
    fn a_wave_that_comes_after_a_quiet_time_waits_as_well() {
        let mut ramp = Ramp {
            usual: 1_000,
            ..Ramp::default()
        };
        ramp.begin(1_000_000);
        let wave = (0..1_000)
            .filter(|ms| ramp.admit(true, 10_000, 30_000, 1_020_000 + ms))
            .count();
        assert!((95..=120).contains(&wave), "{wave}");
    }

    #[test]
    fn it_ends_after_its_time_when_nothing_waits_any_more_and_at_once_without_a_ramp() {
        let mut ramp = Ramp {
            usual: 1,
            ..Ramp::default()
        };
        ramp.begin(1_000);
        assert!(!ramp.admit(true, 10_000, 30_000, 1_001));
        assert!(ramp.admit(false, 10_000, 30_000, 1_001 + QUIET_MS + 1));
        assert!(ramp.is_under_way());
        assert!(ramp.admit(true, 10_000, 30_000, 1_000 + 30_001));
        assert!(!ramp.is_under_way());
        ramp.begin(1_000);
        assert!(ramp.admit(true, 10_000, 0, 1_001));
        ramp.begin(1_000);
        assert!(ramp.admit(true, 10_000, 30_000, 5), "a clock that went back");
    }
}
