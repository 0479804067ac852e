//! When an Envoy is sent its filter once more.

use std::time::Duration;
use tokio::time::Instant;

/// After a refusal: doubled each time, up to the longest. There is no last time, as the module may still come.
const FIRST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(10);
/// After an acceptance that the filter itself has not confirmed: doubled each time.
const CONFIRMED: Duration = Duration::from_secs(5);
/// A module that never speaks to the control plane is not sent for ever.
const DOUBTS: u32 = 5;

/// The repetitions on one stream.
#[derive(Debug)]
pub(super) struct Again {
    /// Never the same twice, also after a restart of the control plane.
    number: u64,
    refusals: u32,
    doubts: u32,
    at: Option<Instant>,
}

impl Again {
    /// `number`: from the clock.
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            refusals: 0,
            doubts: 0,
            at: None,
        }
    }

    /// Another module is offered: its first repetitions come soon.
    pub(super) fn start(&mut self) {
        (self.refusals, self.doubts) = (0, 0);
    }

    pub(super) fn refused(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.refusals.min(10)).min(LONGEST);
        self.refusals = self.refusals.saturating_add(1);
        self.at = Some(now + wait);
    }

    /// Envoy also accepts what it has refused before and does not apply: only the filter itself can confirm.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.refusals = 0;
        self.at = (self.doubts < DOUBTS).then(|| now + CONFIRMED.saturating_mul(1 << self.doubts));
        self.doubts = self.doubts.saturating_add(1);
    }

    pub(super) fn confirmed(&mut self) {
        self.start();
        self.at = None;
    }

    /// Whether nothing was refused since the last acceptance or the last offer: Envoy refuses a module once while it fetches it.
    pub(super) fn is_first(&self) -> bool {
        self.refusals == 0
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether the last answer was an acceptance.
    pub(super) fn doubts(&self) -> bool {
        self.refusals == 0
    }

    /// The number of the next repetition.
    pub(super) fn next(&mut self) -> u64 {
        self.at = None;
        self.number = self.number.wrapping_add(1);
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_repeated_without_an_end_and_never_alike() {
        let (mut again, now) = (Again::new(7), Instant::now());
        let mut waits = Vec::new();
        let mut numbers = std::collections::BTreeSet::new();
        for _ in 0..100 {
            again.refused(now);
            waits.push(again.at().unwrap().duration_since(now));
            assert!(numbers.insert(again.next()));
        }
        assert_eq!((waits[0], waits[99]), (FIRST, LONGEST));
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn the_first_refusal_of_an_offer_is_told_apart() {
        let (mut again, now) = (Again::new(0), Instant::now());
        assert!(again.is_first());
        again.refused(now);
        assert!(!again.is_first());
        again.start();
        assert!(again.is_first(), "of another module");
    }

    #[test]
    fn what_is_not_confirmed_is_doubted_some_times() {
        let (mut again, now) = (Again::new(0), Instant::now());
        let mut repeated = 0;
        loop {
            again.accepted(now);
            if again.at().is_none() {
                break;
            }
            again.next();
            repeated += 1;
        }
        assert_eq!(repeated, DOUBTS);
        again.confirmed();
        assert_eq!(again.at(), None);
    }
}
