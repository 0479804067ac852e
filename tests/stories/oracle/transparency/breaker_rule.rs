//! How far a breaker may have gone, by the calls that the origin itself counted: a model of its own, which errs on the breaker's side.

use std::time::{Duration, Instant};

/// The breaker's window, least number of calls, wait, and probes.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
pub(super) const MINIMUM: usize = 6;
pub(super) const WAIT: Duration = Duration::from_millis(500);
pub(super) const PROBES: usize = 3;

/// A busy machine's time between what the origin sent and what the breaker made of it.
const BUSY: Duration = Duration::from_secs(2);

/// A call, as the origin saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: Instant,
    pub(super) failed: bool,
    /// Its client stayed for the answer, so that it was counted.
    pub(super) counted: bool,
}

/// How far it may have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Farthest {
    Closed,
    HalfOpen,
    Open,
}

/// How far the breaker of an upstream with these calls, in order, may be from closed at a time.
pub(super) fn farthest(calls: &[Call], at: Instant) -> Farthest {
    let mut model = Model {
        opened: None,
        closed: None,
        starts: vec![0],
        probes: 0,
    };
    let until = calls.partition_point(|call| call.at <= at);
    for index in 0..until {
        model.take(&calls[..=index]);
    }
    match model {
        Model {
            opened: Some(opened), ..
        } if opened + WAIT + BUSY >= at => Farthest::Open,
        Model { opened: Some(_), .. } => Farthest::HalfOpen,
        Model {
            closed: Some(closed), ..
        } if closed + BUSY >= at => Farthest::HalfOpen,
        _ => Farthest::Closed,
    }
}

#[derive(Debug)]
struct Model {
    /// When it may last have opened; absent while it is surely closed.
    opened: Option<Instant>,
    /// Since when it is surely closed again.
    closed: Option<Instant>,
    /// Places of calls with which its present count may have begun.
    starts: Vec<usize>,
    /// Probes that must have gone well since it opened.
    probes: usize,
}

impl Model {
    /// Takes in the last of these.
    fn take(&mut self, calls: &[Call]) {
        let Some((call, last)) = calls.last().zip(calls.len().checked_sub(1)) else {
            return;
        };
        let counts: Vec<_> = self.starts.iter().filter_map(|start| calls.get(*start..)).collect();
        if counts.iter().any(|calls| may_trip(calls)) || self.opened.is_some() && call.failed {
            // Else it may have stayed closed, and counted on.
            if !counts.is_empty() && counts.iter().all(|calls| must_trip(calls)) {
                self.starts.clear();
            }
            self.opened = Some(call.at);
            self.probes = 0;
            return;
        }
        let Some(opened) = self.opened.filter(|opened| call.at >= *opened + WAIT) else {
            return;
        };
        // It may have been the one that closed it, after others whose clients left.
        self.starts.push(last + 1);
        // On a busy machine it opened later, and this one may have been under way by then: no probe.
        self.probes += usize::from(call.counted && call.at >= opened + WAIT + BUSY);
        if self.probes >= PROBES {
            self.opened = None;
            self.closed = Some(call.at.max(opened));
        }
    }
}

/// Numbers of failures and successes, each with those that may not have been counted.
struct Counts {
    failures: [usize; 2],
    successes: [usize; 2],
}

impl Counts {
    /// Of the windows that the last call may have been counted in. A window begins with a whole tenth of itself. A busy machine counts
    /// the last call later than it was sent, when older ones have left the window.
    fn of(calls: &[Call]) -> Option<[Self; 3]> {
        let last = calls.last()?.at;
        Some([WINDOW - BUSY, WINDOW, WINDOW * 11 / 10].map(|window| {
            let mut counts = Self {
                failures: [0; 2],
                successes: [0; 2],
            };
            for call in calls.iter().filter(|call| call.at + window >= last) {
                // Successes reach the breaker's record together, a little later.
                let unsure = !call.counted || !call.failed && call.at + BUSY >= last;
                let kind = if call.failed {
                    &mut counts.failures
                } else {
                    &mut counts.successes
                };
                kind[usize::from(unsure)] += 1;
            }
            counts
        }))
    }
}

/// Whether at least half of enough of these may have been failures when the last one was counted.
fn may_trip(calls: &[Call]) -> bool {
    Counts::of(calls).into_iter().flatten().any(|counts| {
        let failures: usize = counts.failures.iter().sum();
        let [sure, unsure] = counts.successes;
        failures + sure + unsure >= MINIMUM && 2 * failures >= MINIMUM.max(failures + sure)
    })
}

/// Whether they were, whatever was not counted.
fn must_trip(calls: &[Call]) -> bool {
    Counts::of(calls).into_iter().flatten().all(|counts| {
        let [failures, _] = counts.failures;
        let [sure, unsure] = counts.successes;
        failures + sure >= MINIMUM && 2 * failures >= failures + sure + unsure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many milliseconds after a beginning: a success, a failure, or one whose client left.
    fn calls(kinds: &str, every_ms: u64) -> (Vec<Call>, impl Fn(u64) -> Instant) {
        let began = Instant::now();
        let at = move |ms| began + Duration::from_millis(ms);
        let call = |(kind, number): (char, u64)| Call {
            at: at(number * every_ms),
            failed: kind == 'f',
            counted: kind != 'l',
        };
        (kinds.chars().zip(0..).map(call).collect(), at)
    }

    #[test]
    fn it_opens_only_by_half_of_enough_calls() {
        for (kinds, expected) in [
            ("", Farthest::Closed),
            ("f", Farthest::Closed),
            ("fffff", Farthest::Closed),
            ("ffffff", Farthest::Open),
            ("fsfsfs", Farthest::Open),
            ("ffsssss", Farthest::Closed),
            ("sssssssssfff", Farthest::Closed),
            // Those whose clients left may have been counted, or not.
            ("llllfff", Farthest::Open),
            ("sssssssffl", Farthest::Closed),
        ] {
            let (calls, at) = calls(kinds, 600);
            let last = calls.len().saturating_sub(1) as u64 * 600;
            assert_eq!(farthest(&calls, at(last)), expected, "{kinds}");
        }
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let (calls, at) = calls("fffff", 1_000);
        let mut later = calls.clone();
        later.extend((0..6).map(|number| Call {
            at: at(16_000 + number * 100),
            failed: number == 0,
            counted: true,
        }));
        assert_eq!(farthest(&later, at(16_600)), Farthest::Closed);
    }

    #[test]
    fn it_is_open_for_a_wait_and_half_open_until_its_probes_went_well() {
        let (mut calls, at) = calls("ffffffffff", 100);
        let wait = u64::try_from((WAIT + BUSY).as_millis()).unwrap();
        assert_eq!(farthest(&calls, at(900 + wait)), Farthest::Open);
        assert_eq!(farthest(&calls, at(901 + wait)), Farthest::HalfOpen);
        assert_eq!(
            farthest(&calls, at(60_000)),
            Farthest::HalfOpen,
            "without a call for ever"
        );
        let good = |ms| Call {
            at: at(ms),
            failed: false,
            counted: true,
        };
        // Under way when it opened: no probe.
        calls.extend([good(1_000), good(1_100), good(1_200)]);
        assert_eq!(farthest(&calls, at(4_000)), Farthest::HalfOpen);
        calls.extend([good(4_000), good(4_100), good(4_200)]);
        assert_eq!(
            farthest(&calls, at(4_200)),
            Farthest::HalfOpen,
            "the last one may not be counted yet"
        );
        assert_eq!(farthest(&calls, at(6_300)), Farthest::Closed);
        // Closed, it counts anew: one failure is not enough, however many there were before.
        calls.push(Call {
            failed: true,
            ..good(6_400)
        });
        assert_eq!(farthest(&calls, at(6_500)), Farthest::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again() {
        let (mut calls, at) = calls("ffffffffff", 100);
        calls.push(Call {
            at: at(5_000),
            failed: true,
            counted: true,
        });
        assert_eq!(farthest(&calls, at(4_999)), Farthest::HalfOpen);
        assert_eq!(farthest(&calls, at(5_000)), Farthest::Open);
    }
}
