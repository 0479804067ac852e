//! Failures that show only after the response head: the call has been counted as a success by then, and is one call still.

use super::policy::BreakerPolicy;
use super::record::{BUCKETS, Record, State};
use super::table::{RETRIES, StatusBefore, find, write};
use super::{Counted, Transition};
use crate::Millis;
use crate::shared_map::{SetError, SharedMap};

/// Takes in that a counted call has failed after all, and before it so many others of the same generation that ended well.
pub(super) fn fail(
    map: &impl SharedMap,
    counted: &Counted,
    policy: &BreakerPolicy,
    others: u32,
    now_ms: Millis,
    random: u64,
) -> Option<Transition> {
    for _ in 0..RETRIES {
        let (key, mut record, cas) = find(map, &counted.upstream)?;
        let before = StatusBefore::of(&record, policy);
        let handed_in = record.end_well(policy, counted.generation, others, now_ms);
        if !record.fail_late(policy, counted, now_ms, random) && !handed_in {
            return None;
        }
        match write(map, &counted.upstream, &key, &record, cas, before.ordinary) {
            Ok(()) => return before.transition(&counted.upstream, &record, policy, None, now_ms),
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return None,
        }
    }
    None
}

impl Record {
    /// Turns the success of a counted call into a failure; true when the record has changed.
    pub(super) fn fail_late(&mut self, policy: &BreakerPolicy, counted: &Counted, now_ms: Millis, random: u64) -> bool {
        let own = counted.generation == self.generation;
        // The probe that closed the breaker: the window is empty since, so there it is a call of its own.
        let closed_it = counted.probe && counted.generation.wrapping_add(1) == self.generation;
        match self.state {
            State::HalfOpen if own && counted.probe => self.judge_probe(policy, true, now_ms, random),
            State::Closed if own || closed_it => {
                if !own || !self.turn_success(policy, counted.at_ms, now_ms) {
                    self.add_failure(policy, now_ms);
                }
                self.open_if_tripped(policy, now_ms, random);
            }
            State::Closed | State::Open | State::HalfOpen => return false,
        }
        true
    }

    /// Makes one success since then a failure; false when the window has none any more.
    fn turn_success(&mut self, policy: &BreakerPolicy, since_ms: Millis, now_ms: Millis) -> bool {
        let width = (policy.window_ms / BUCKETS as u64).max(1);
        let (first, last) = (since_ms / width, now_ms / width);
        let success = self
            .buckets
            .iter_mut()
            .filter(|bucket| bucket.span >= first && bucket.span <= last && last - bucket.span < BUCKETS as u64)
            .filter(|bucket| bucket.calls > bucket.failures)
            .min_by_key(|bucket| bucket.span);
        let Some(bucket) = success else { return false };
        bucket.failures = bucket.failures.saturating_add(1);
        true
    }

    fn add_failure(&mut self, policy: &BreakerPolicy, now_ms: Millis) {
        if let Some(bucket) = self.bucket(policy, now_ms) {
            bucket.calls = bucket.calls.saturating_add(1);
            bucket.failures = bucket.failures.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BreakerPolicy, BreakerState, Call, View, Watch, all};
    use super::*;
    use crate::breaker::OutcomeClass;
    use crate::shared_map::MemoryMap;

    const CALL: Call = Call {
        holder: 7,
        can_wait: false,
    };
    const OK: OutcomeClass = OutcomeClass::Status(200);

    fn policy() -> BreakerPolicy {
        BreakerPolicy {
            minimum_calls: 10,
            jitter_percent: 0,
            ..BreakerPolicy::default()
        }
    }

    /// One worker, and what it made of its calls.
    #[derive(Default)]
    struct Worker {
        map: MemoryMap,
        watch: Watch,
    }

    impl Worker {
        fn start() -> Self {
            let worker = Self::default();
            super::super::seed(&worker.map);
            worker
        }

        /// A call whose response head has come.
        fn answered(&mut self, class: OutcomeClass, now_ms: u64) -> Counted {
            let decided = self
                .watch
                .acquire(&self.map, "api", &policy(), &CALL, now_ms, || now_ms);
            let permit = decided.leave.unwrap().unwrap();
            let counted = permit.counted(now_ms);
            self.watch.resolve(&self.map, permit, &policy(), class, 1, now_ms, || 1);
            counted
        }

        fn fails(&mut self, counted: &Counted, now_ms: u64) -> Option<Transition> {
            self.watch.fail_late(&self.map, counted, &policy(), now_ms, 1)
        }

        fn view(&mut self, now_ms: u64) -> View {
            self.watch.hand_in(&self.map, &policy(), now_ms);
            all(&self.map, &policy(), now_ms).remove(0)
        }

        /// Opens it, and waits until probes may pass.
        fn half_open(&mut self, now_ms: u64) -> u64 {
            while all(&self.map, &policy(), now_ms)
                .iter()
                .all(|view| view.state != BreakerState::Open)
            {
                self.answered(OutcomeClass::Status(500), now_ms);
            }
            now_ms + policy().open_wait_ms
        }
    }

    #[test]
    fn a_late_failure_is_the_same_call() {
        let mut worker = Worker::start();
        let counted: Vec<_> = (0..9).map(|_| worker.answered(OK, 100_000)).collect();
        for counted in &counted[..5] {
            assert!(worker.fails(counted, 100_400).is_none(), "too few calls");
        }
        assert_eq!(worker.view(100_500).window, (9, 5, 0));
        let tenth = worker.answered(OK, 100_600);
        let opened = worker.fails(&tenth, 100_700).unwrap();
        assert_eq!(
            (opened.to, opened.evidence.calls, opened.evidence.failures),
            (BreakerState::Open, 10, 6)
        );
    }

    #[test]
    fn after_the_window_it_is_a_call_of_now() {
        let mut worker = Worker::start();
        let counted = worker.answered(OK, 100_000);
        let later = 100_000 + 2 * policy().window_ms;
        worker.fails(&counted, later);
        assert_eq!(worker.view(later).window, (1, 1, 0));
    }

    #[test]
    fn of_another_generation_it_says_nothing() {
        let mut worker = Worker::start();
        let old = worker.answered(OK, 100_000);
        let ready = worker.half_open(100_000);
        assert!(worker.fails(&old, 100_001).is_none());
        assert_eq!(worker.view(ready).state, BreakerState::HalfOpen);
        for _ in 0..3 {
            worker.answered(OK, ready);
        }
        assert!(worker.fails(&old, ready + 1).is_none());
        let view = worker.view(ready + 2);
        assert_eq!((view.state, view.window), (BreakerState::Closed, (0, 0, 0)));
    }

    #[test]
    fn a_probe_that_fails_late_opens_again_or_counts_in_what_it_closed() {
        let mut worker = Worker::start();
        let ready = worker.half_open(100_000);
        let first = worker.answered(OK, ready);
        assert_eq!(worker.fails(&first, ready + 1).unwrap().to, BreakerState::Open);
        let ready = ready + 1 + 2 * policy().open_wait_ms;
        let probes: Vec<_> = (0..3).map(|turn| worker.answered(OK, ready + turn * 2)).collect();
        assert_eq!(worker.view(ready + 9).state, BreakerState::Closed);
        for probe in &probes {
            worker.fails(probe, ready + 10);
        }
        assert_eq!(worker.view(ready + 10).window, (3, 3, 0));
    }

    #[test]
    fn a_probe_without_an_answer_makes_room_and_its_answer_counts() {
        let mut worker = Worker::start();
        let ready = worker.half_open(100_000);
        let ask = |worker: &mut Worker, now_ms| {
            let Worker { map, watch } = worker;
            watch.acquire(map, "api", &policy(), &CALL, now_ms, || now_ms * 2).leave
        };
        let polls: Vec<_> = (0..3)
            .map(|turn| ask(&mut worker, ready + turn).unwrap().unwrap())
            .collect();
        assert!(ask(&mut worker, ready + policy().open_wait_ms - 1).is_err());
        let others = ready + policy().open_wait_ms + 10;
        for turn in 0..3 {
            assert!(ask(&mut worker, others + turn).is_ok());
        }
        assert!(ask(&mut worker, others + 3).is_err(), "as many again, and no more");
        for poll in polls {
            worker
                .watch
                .resolve(&worker.map, poll, &policy(), OK, 30_000, ready + 30_000, || 1);
        }
        assert_eq!(worker.view(ready + 30_000).state, BreakerState::Closed);
    }
}
