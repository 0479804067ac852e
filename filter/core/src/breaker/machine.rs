//! The state machine on one record: time and chance are arguments, nothing is read or written.

use super::policy::BreakerPolicy;
use super::record::{BUCKETS, Bucket, Cause, Forced, MAX_PROBES, Probe, Record, State};
use super::{OutcomeClass, Permit};
use crate::Millis;

/// A probe that was never resolved (its VM trapped) gives its place back after this time.
const PROBE_MS: u64 = 60_000;

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Go.
    Free,
    /// Go, as this probe.
    Probe(u64),
    /// Stay.
    Refused { retry_after_ms: Millis },
}

impl Record {
    /// The operator's word, while it holds.
    pub(super) fn forced_now(&self, now_ms: Millis) -> Forced {
        if self.forced_until_ms > now_ms {
            self.forced
        } else {
            Forced::None
        }
    }

    /// Decides about a call that begins. The second value says that the record has changed.
    pub(super) fn begin(&mut self, policy: &BreakerPolicy, now_ms: Millis, random: u64) -> (Pass, bool) {
        match self.forced_now(now_ms) {
            Forced::Open => {
                self.refused = self.refused.saturating_add(1);
                let retry_after_ms = self.forced_until_ms.saturating_sub(now_ms);
                return (Pass::Refused { retry_after_ms }, true);
            }
            Forced::Closed => return (Pass::Free, false),
            Forced::None | Forced::DryRun => {}
        }
        let (pass, changed) = match self.state {
            State::Closed => (Pass::Free, false),
            State::Open => self.begin_open(policy, now_ms, random),
            State::HalfOpen => self.begin_half_open(policy, now_ms, random),
        };
        let dry = policy.dry_run || self.forced_now(now_ms) == Forced::DryRun;
        match pass {
            Pass::Refused { .. } => {
                self.refused = self.refused.saturating_add(1);
                (if dry { Pass::Free } else { pass }, true)
            }
            pass => (pass, changed),
        }
    }

    fn begin_open(&mut self, policy: &BreakerPolicy, now_ms: Millis, random: u64) -> (Pass, bool) {
        // A wait that ends beyond what any wait may be comes from a clock that went back since.
        let longest = policy.open_wait_max_ms.max(policy.open_wait_ms).saturating_mul(2);
        if now_ms < self.wait_until_ms && self.wait_until_ms - now_ms <= longest {
            return (
                Pass::Refused {
                    retry_after_ms: self.wait_until_ms - now_ms,
                },
                false,
            );
        }
        self.enter(State::HalfOpen, now_ms);
        self.begin_half_open(policy, now_ms, random)
    }

    fn begin_half_open(&mut self, policy: &BreakerPolicy, now_ms: Millis, random: u64) -> (Pass, bool) {
        self.probes
            .retain(|probe| probe.until_ms > now_ms && probe.until_ms <= now_ms.saturating_add(PROBE_MS));
        let places = usize::try_from(policy.probes)
            .unwrap_or(MAX_PROBES)
            .clamp(1, MAX_PROBES);
        if self.probes.len() >= places {
            return (Pass::Refused { retry_after_ms: 1_000 }, false);
        }
        let id = random | 1;
        self.probes.push(Probe {
            id,
            until_ms: now_ms.saturating_add(PROBE_MS),
        });
        (Pass::Probe(id), true)
    }

    /// Takes in how a call ended; true when the record has changed.
    pub(super) fn end(
        &mut self,
        policy: &BreakerPolicy,
        permit: &Permit,
        class: OutcomeClass,
        took_ms: Millis,
        now_ms: Millis,
        random: u64,
    ) -> bool {
        if permit.generation != self.generation {
            return false;
        }
        let mut held = false;
        if let Some(id) = permit.probe {
            let before = self.probes.len();
            self.probes.retain(|probe| probe.id != id);
            held = self.probes.len() < before;
        }
        let Some(failed) = policy.failed(class) else {
            return held;
        };
        let slow = took_ms >= policy.slow_call_ms;
        match self.state {
            State::Closed => self.count(policy, class, failed, slow, now_ms, random),
            State::HalfOpen if held => self.judge_probe(policy, failed || slow, now_ms, random),
            State::HalfOpen | State::Open => {}
        }
        true
    }

    fn count(
        &mut self,
        policy: &BreakerPolicy,
        class: OutcomeClass,
        failed: bool,
        slow: bool,
        now_ms: Millis,
        random: u64,
    ) {
        let span = now_ms / (policy.window_ms / BUCKETS as u64).max(1);
        let place = usize::try_from(span % BUCKETS as u64).unwrap_or(0);
        if let Some(bucket) = self.buckets.get_mut(place) {
            if bucket.span != span {
                *bucket = Bucket {
                    span,
                    ..Bucket::default()
                };
            }
            bucket.calls = bucket.calls.saturating_add(1);
            bucket.failures = bucket.failures.saturating_add(u32::from(failed));
            bucket.slow = bucket.slow.saturating_add(u32::from(slow));
        }
        self.connect_failures = match class {
            OutcomeClass::ConnectFailure => self.connect_failures.saturating_add(1),
            _ => 0,
        };
        if let Some(cause) = self.tripped(policy, now_ms) {
            self.open(policy, cause, now_ms, random);
        }
    }

    fn tripped(&self, policy: &BreakerPolicy, now_ms: Millis) -> Option<Cause> {
        let in_a_row = policy.consecutive_connect_failures;
        if in_a_row > 0 && self.connect_failures >= in_a_row {
            return Some(Cause::ConnectFailures);
        }
        let (calls, failures, slow) = self.window(policy, now_ms);
        if calls < u64::from(policy.minimum_calls) {
            return None;
        }
        let reaches = |part: u64, percent: u32| part * 100 >= calls * u64::from(percent);
        if reaches(failures, policy.failure_rate_percent) {
            return Some(Cause::FailureRate);
        }
        reaches(slow, policy.slow_call_rate_percent).then_some(Cause::SlowCallRate)
    }

    /// Calls, failures and slow calls of the window.
    pub(super) fn window(&self, policy: &BreakerPolicy, now_ms: Millis) -> (u64, u64, u64) {
        let span = now_ms / (policy.window_ms / BUCKETS as u64).max(1);
        self.buckets
            .iter()
            .filter(|bucket| bucket.span <= span && span - bucket.span < BUCKETS as u64)
            .fold((0, 0, 0), |(calls, failures, slow), bucket| {
                (
                    calls + u64::from(bucket.calls),
                    failures + u64::from(bucket.failures),
                    slow + u64::from(bucket.slow),
                )
            })
    }

    fn judge_probe(&mut self, policy: &BreakerPolicy, failed: bool, now_ms: Millis, random: u64) {
        if failed {
            self.open(policy, Cause::ProbeFailed, now_ms, random);
            return;
        }
        self.probe_successes = self.probe_successes.saturating_add(1);
        if self.probe_successes >= policy.probes.min(MAX_PROBES as u32) {
            self.enter(State::Closed, now_ms);
            self.attempts = 0;
            self.cause = Cause::None;
        }
    }

    fn open(&mut self, policy: &BreakerPolicy, cause: Cause, now_ms: Millis, random: u64) {
        self.enter(State::Open, now_ms);
        self.cause = cause;
        self.wait_until_ms = now_ms.saturating_add(policy.wait_ms(self.attempts, random));
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Changes the state; whatever was counted or let through before is of the past.
    pub(super) fn enter(&mut self, state: State, now_ms: Millis) {
        self.state = state;
        self.since_ms = now_ms;
        self.generation = self.generation.wrapping_add(1);
        self.probes.clear();
        self.probe_successes = 0;
        self.connect_failures = 0;
        if state == State::Closed {
            self.buckets = [Bucket::default(); BUCKETS];
        }
    }
}
