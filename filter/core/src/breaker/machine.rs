//! The state machine on one record: time and chance are arguments, nothing is read or written.

use super::policy::BreakerPolicy;
use super::record::{BUCKETS, Bucket, Cause, Evidence, Forced, MAX_PROBES, Probe, Record, State};
use super::{BreakerState, Call, OutcomeClass, Permit, Why};
use crate::Millis;

/// A probe that was never resolved gives its place back after this time, even where nobody notices that its VM is gone.
const PROBE_MS: u64 = 60_000;
/// A probe makes room for another one after `open_wait`, and not before this time.
const PROBE_ROOM_MS: u64 = 1_000;

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// It may go.
    Free,
    /// Go, as this probe.
    Probe(u64),
    /// It is refused.
    Refused { retry_after_ms: Millis, why: Why },
}

impl Pass {
    fn refused(retry_after_ms: Millis, why: Why) -> Self {
        Self::Refused { retry_after_ms, why }
    }
}

/// When to try again where nothing better is known.
const RETRY_MS: Millis = 1_000;

impl Record {
    /// The operator's override, while it holds.
    pub(super) fn forced_now(&self, now_ms: Millis) -> Forced {
        if self.forced_until_ms > now_ms {
            self.forced
        } else {
            Forced::None
        }
    }

    /// The state that calls observe; an operator's override counts until [`Record::lapse`] has removed it.
    pub(super) fn shown(&self, policy: &BreakerPolicy) -> BreakerState {
        match (self.forced, self.state) {
            (Forced::Open, _) => BreakerState::ForcedOpen,
            (Forced::Closed, _) => BreakerState::ForcedClosed,
            (Forced::DryRun, _) => BreakerState::DryRun,
            (Forced::None, _) if policy.dry_run => BreakerState::DryRun,
            (Forced::None, State::Closed) => BreakerState::Closed,
            (Forced::None, State::Open) => BreakerState::Open,
            (Forced::None, State::HalfOpen) => BreakerState::HalfOpen,
        }
    }

    /// Takes back an operator's override whose time is over; true when there was one.
    pub(super) fn lapse(&mut self, policy: &BreakerPolicy, now_ms: Millis) -> bool {
        if self.forced == Forced::None || self.forced_now(now_ms) != Forced::None {
            return false;
        }
        self.unforce(policy, now_ms);
        true
    }

    /// An operator's override has ended. After a time without calls the upstream is led back to its load.
    fn unforce(&mut self, policy: &BreakerPolicy, now_ms: Millis) {
        let was_shut = self.forced == Forced::Open;
        self.forced = Forced::None;
        self.forced_until_ms = 0;
        self.forced_since_ms = 0;
        if was_shut && self.state == State::Closed {
            self.recover(policy, now_ms);
        }
    }

    /// Puts an operator's override in place of the breaker's judgement; [`Forced::None`] takes it back and closes the breaker.
    pub(super) fn force(&mut self, policy: &BreakerPolicy, forced: Forced, until_ms: Millis, now_ms: Millis) {
        if forced == Forced::None {
            let was_shut = self.forced == Forced::Open || self.state != State::Closed;
            self.unforce(policy, now_ms);
            self.enter(State::Closed, now_ms);
            self.attempts = 0;
            self.cause = Cause::Operator;
            if was_shut {
                self.recover(policy, now_ms);
            }
            return;
        }
        if self.forced != forced {
            self.forced_since_ms = now_ms;
        }
        if forced == Forced::Open && self.forced != Forced::Open && self.state == State::Closed {
            self.note_usual(policy, now_ms);
        }
        self.forced = forced;
        self.forced_until_ms = until_ms;
    }

    /// Forgets the probes of VMs that are gone; true when there were any.
    pub(super) fn take_back(&mut self, alive: impl Fn(u64) -> bool) -> bool {
        let before = self.probes.len();
        self.probes.retain(|probe| alive(probe.holder));
        self.probes.len() < before
    }

    /// Decides about a call that begins. The second value says that the record has changed.
    pub(super) fn begin(&mut self, policy: &BreakerPolicy, call: &Call, now_ms: Millis, random: u64) -> (Pass, bool) {
        match self.forced {
            Forced::Open => {
                self.refused = self.refused.saturating_add(1);
                let retry_after_ms = self.forced_until_ms.saturating_sub(now_ms);
                return (Pass::refused(retry_after_ms, Why::ForcedOpen), true);
            }
            Forced::Closed => return (Pass::Free, false),
            Forced::None | Forced::DryRun => {}
        }
        let (pass, changed) = match self.state {
            State::Closed => self.begin_closed(policy, call, now_ms),
            State::Open => self.begin_open(policy, call, now_ms, random),
            State::HalfOpen => self.begin_half_open(policy, call, now_ms, random),
        };
        let dry = policy.dry_run || self.forced == Forced::DryRun;
        match pass {
            Pass::Refused { .. } if dry => {
                self.would_refuse = self.would_refuse.saturating_add(1);
                (Pass::Free, true)
            }
            Pass::Refused {
                why: Why::Recovering, ..
            } => {
                self.deferred = self.deferred.saturating_add(1);
                (pass, true)
            }
            Pass::Refused { .. } => {
                self.refused = self.refused.saturating_add(1);
                (pass, true)
            }
            pass => (pass, changed),
        }
    }

    fn begin_closed(&mut self, policy: &BreakerPolicy, call: &Call, now_ms: Millis) -> (Pass, bool) {
        if !self.ramp.is_under_way() {
            return (Pass::Free, false);
        }
        if self.ramp.admit(call.can_wait, policy.window_ms, policy.ramp_ms, now_ms) {
            return (Pass::Free, true);
        }
        (Pass::refused(RETRY_MS, Why::Recovering), true)
    }

    fn begin_open(&mut self, policy: &BreakerPolicy, call: &Call, now_ms: Millis, random: u64) -> (Pass, bool) {
        if !self.is_due(policy, now_ms) {
            return (
                Pass::refused(self.wait_until_ms.saturating_sub(now_ms), Why::Open),
                false,
            );
        }
        self.enter(State::HalfOpen, now_ms);
        self.begin_half_open(policy, call, now_ms, random)
    }

    /// The wait in open is over: the next call may try the upstream.
    pub(super) fn is_due(&self, policy: &BreakerPolicy, now_ms: Millis) -> bool {
        // A wait that ends beyond what any wait may be comes from a clock that went back since.
        let longest = policy.open_wait_max_ms.max(policy.open_wait_ms).saturating_mul(2);
        let waits = now_ms < self.wait_until_ms && self.wait_until_ms - now_ms <= longest;
        self.state == State::Open && !waits
    }

    fn begin_half_open(&mut self, policy: &BreakerPolicy, call: &Call, now_ms: Millis, random: u64) -> (Pass, bool) {
        self.probes = self.under_way(now_ms).copied().collect();
        let places = usize::try_from(policy.probes)
            .unwrap_or(MAX_PROBES)
            .clamp(1, MAX_PROBES);
        // A long poll answers late, and says nothing bad by that: its verdict still counts, but others need not wait for it.
        let holds_ms = policy.open_wait_ms.clamp(PROBE_ROOM_MS, PROBE_MS);
        let holds = |probe: &&Probe| probe.until_ms.saturating_sub(now_ms) > PROBE_MS - holds_ms;
        if self.probes.iter().filter(holds).count() >= places || self.probes.len() >= MAX_PROBES {
            return (Pass::refused(RETRY_MS, Why::HalfOpen), false);
        }
        let id = random | 1;
        self.probes.push(Probe {
            id,
            until_ms: now_ms.saturating_add(PROBE_MS),
            holder: call.holder,
        });
        (Pass::Probe(id), true)
    }

    /// Probes whose time has not run out.
    pub(super) fn under_way(&self, now_ms: Millis) -> impl Iterator<Item = &Probe> {
        let longest_ms = now_ms.saturating_add(PROBE_MS);
        self.probes
            .iter()
            .filter(move |probe| probe.until_ms > now_ms && probe.until_ms <= longest_ms)
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
        let held = self.give_back(permit);
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

    /// Gives a probe's place back; true when it was held.
    pub(super) fn give_back(&mut self, permit: &Permit) -> bool {
        let before = self.probes.len();
        if permit.generation == self.generation {
            self.probes.retain(|probe| Some(probe.id) != permit.probe);
        }
        self.probes.len() < before
    }

    /// Takes in so many calls that ended well; true when they count.
    pub(super) fn end_well(&mut self, policy: &BreakerPolicy, generation: u64, calls: u32, now_ms: Millis) -> bool {
        if calls == 0 || generation != self.generation || self.state != State::Closed {
            return false;
        }
        if let Some(bucket) = self.bucket(policy, now_ms) {
            bucket.calls = bucket.calls.saturating_add(calls);
        }
        self.connect_failures = 0;
        true
    }

    /// The bucket of this moment.
    pub(super) fn bucket(&mut self, policy: &BreakerPolicy, now_ms: Millis) -> Option<&mut Bucket> {
        let span = now_ms / (policy.window_ms / BUCKETS as u64).max(1);
        let place = usize::try_from(span % BUCKETS as u64).unwrap_or(0);
        let bucket = self.buckets.get_mut(place)?;
        if bucket.span != span {
            *bucket = Bucket {
                span,
                ..Bucket::default()
            };
        }
        Some(bucket)
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
        if let Some(bucket) = self.bucket(policy, now_ms) {
            bucket.calls = bucket.calls.saturating_add(1);
            bucket.failures = bucket.failures.saturating_add(u32::from(failed));
            bucket.slow = bucket.slow.saturating_add(u32::from(slow));
        }
        self.connect_failures = match class {
            OutcomeClass::ConnectFailure => self.connect_failures.saturating_add(1),
            _ => 0,
        };
        self.open_if_tripped(policy, now_ms, random);
    }

    pub(super) fn open_if_tripped(&mut self, policy: &BreakerPolicy, now_ms: Millis, random: u64) {
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

    pub(super) fn judge_probe(&mut self, policy: &BreakerPolicy, failed: bool, now_ms: Millis, random: u64) {
        if failed {
            self.open(policy, Cause::ProbeFailed, now_ms, random);
            return;
        }
        self.probe_successes = self.probe_successes.saturating_add(1);
        if self.probe_successes >= policy.probes.min(MAX_PROBES as u32) {
            self.enter(State::Closed, now_ms);
            self.attempts = 0;
            self.cause = Cause::Recovered;
            self.recover(policy, now_ms);
        }
    }

    fn recover(&mut self, policy: &BreakerPolicy, now_ms: Millis) {
        self.ramp.usual = self.ramp.usual.max(u64::from(policy.minimum_calls));
        if policy.ramp_ms > 0 {
            self.ramp.begin(now_ms);
        }
    }

    /// What the upstream is used to. Failed calls are left out: where each failure is asked for again they would count many times.
    fn note_usual(&mut self, policy: &BreakerPolicy, now_ms: Millis) {
        let (calls, failures, _) = self.window(policy, now_ms);
        let well = calls.saturating_sub(failures);
        self.ramp.usual = if self.ramp.is_under_way() {
            self.ramp.usual.max(well)
        } else {
            well
        };
        self.ramp.end();
    }

    fn open(&mut self, policy: &BreakerPolicy, cause: Cause, now_ms: Millis, random: u64) {
        let (calls, failures, slow) = self.window(policy, now_ms);
        if self.state == State::Closed {
            self.note_usual(policy, now_ms);
            self.evidence = Evidence {
                calls,
                failures,
                slow,
                connect_failures: self.connect_failures,
            };
        }
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
