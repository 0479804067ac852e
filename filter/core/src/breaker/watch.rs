//! What one worker knows of the breakers it passes, so that an ordinary call costs no more than a look at a version.
//!
//! While a breaker is closed and nothing is the matter, its record says the same to every call, and a call that ends well only adds
//! one to a count. So the worker remembers that it found the breaker ordinary, asks before each call whether that has changed, and
//! hands in the calls that ended well together. What is not ordinary goes to the record at once, and takes with it what waited: the
//! worker's own share of a rate is complete whenever one is judged, that of the others at most [`HAND_IN_MS`] and a tick late.

use super::policy::BreakerPolicy;
use super::table::{self, Decided, Ordinary};
use super::{Call, Counted, OutcomeClass, Permit, Transition, late};
use crate::Millis;
use crate::shared_map::{Cas, SharedMap, TRUSTED_MS};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Upstreams remembered; one beyond these goes to its record with each call.
const MAX_UPSTREAMS: usize = 256;
/// Successful calls are reported after at most this time while others follow, else at the next tick.
const HAND_IN_MS: Millis = 100;
/// Or after this many.
const HAND_IN: u32 = 64;

/// One worker's view of all breakers.
#[derive(Debug, Default)]
pub struct Watch {
    upstreams: FxHashMap<Rc<str>, Known>,
}

#[derive(Debug, Default)]
struct Known {
    version: Option<Cas>,
    read_ms: Millis,
    /// Absent where each call is to be decided by the record.
    ordinary: Option<Ordinary>,
    /// Calls that ended well and are not in the record yet, all of this generation.
    waiting: u32,
    generation: u64,
    since_ms: Millis,
}

impl Watch {
    /// Asks for a permit: of a breaker known to be ordinary only the version is read.
    pub fn acquire(
        &mut self,
        map: &impl SharedMap,
        upstream: &str,
        policy: &BreakerPolicy,
        call: &Call,
        now_ms: Millis,
        random: impl FnOnce() -> u64,
    ) -> Decided {
        if !policy.enabled {
            self.upstreams.clear();
            return Decided::uncounted();
        }
        if !self.upstreams.contains_key(upstream) {
            if self.upstreams.len() >= MAX_UPSTREAMS {
                return table::acquire(map, upstream, policy, call, now_ms, random());
            }
            self.upstreams.insert(Rc::from(upstream), Known::default());
        }
        // Before the record: a change that comes in between is found out by the next call.
        let version = map.version(&table::version_key(upstream));
        let Some(known) = self.upstreams.get_mut(upstream) else {
            return table::acquire(map, upstream, policy, call, now_ms, random());
        };
        if let Some(ordinary) = known.ordinary
            && version == known.version
            && now_ms.abs_diff(known.read_ms) < TRUSTED_MS
        {
            return Decided::ordinary(upstream, ordinary);
        }
        let decided = table::acquire(map, upstream, policy, call, now_ms, random());
        known.version = version;
        known.read_ms = now_ms;
        known.ordinary = decided.ordinary.filter(|_| version.is_some());
        decided
    }

    /// Takes in how a call ended.
    #[allow(clippy::too_many_arguments)]
    pub fn resolve(
        &mut self,
        map: &impl SharedMap,
        permit: Permit,
        policy: &BreakerPolicy,
        class: OutcomeClass,
        took_ms: Millis,
        now_ms: Millis,
        random: impl FnOnce() -> u64,
    ) -> Option<Transition> {
        let Some(known) = self.upstreams.get_mut(permit.upstream()) else {
            return table::resolve(map, permit, policy, class, took_ms, 0, now_ms, random());
        };
        let well = policy.failed(class) == Some(false) && took_ms < policy.slow_call_ms;
        let ordinary = known.ordinary.is_some_and(|seen| seen.generation == permit.generation);
        if !well || !ordinary || permit.is_probe() {
            let waiting = known.take_waiting(policy, permit.generation, now_ms);
            return table::resolve(map, permit, policy, class, took_ms, waiting, now_ms, random());
        }
        if known.generation != permit.generation || known.waiting == 0 {
            known.waiting = 0;
            known.generation = permit.generation;
            known.since_ms = now_ms;
        }
        if known.waiting + 1 < HAND_IN && now_ms.abs_diff(known.since_ms) < HAND_IN_MS {
            known.waiting += 1;
            return None;
        }
        let waiting = known.take_waiting(policy, permit.generation, now_ms);
        table::resolve(map, permit, policy, class, took_ms, waiting, now_ms, random())
    }

    /// Takes in that a call which was counted as a success has failed after its response head.
    pub fn fail_late(
        &mut self,
        map: &impl SharedMap,
        counted: &Counted,
        policy: &BreakerPolicy,
        now_ms: Millis,
        random: u64,
    ) -> Option<Transition> {
        let known = self.upstreams.get_mut(counted.upstream.as_str());
        let waiting = known.map_or(0, |known| known.take_waiting(policy, counted.generation, now_ms));
        late::fail(map, counted, policy, waiting, now_ms, random)
    }

    /// Reports the successful calls that wait. Once a tick.
    pub fn hand_in(&mut self, map: &impl SharedMap, policy: &BreakerPolicy, now_ms: Millis) {
        for (upstream, known) in &mut self.upstreams {
            let waiting = known.take_waiting(policy, known.generation, now_ms);
            if waiting > 0 && policy.enabled {
                table::count_success(map, upstream, policy, known.generation, waiting, now_ms);
            }
        }
    }
}

impl Known {
    /// The calls that wait; those of another generation, or from before the window, are of the past.
    fn take_waiting(&mut self, policy: &BreakerPolicy, generation: u64, now_ms: Millis) -> u32 {
        let waiting = std::mem::take(&mut self.waiting);
        let counts = self.generation == generation && now_ms.abs_diff(self.since_ms) < policy.window_ms;
        if counts { waiting } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Forced, apply_override, seed};
    use super::*;
    use crate::shared_map::MemoryMap;

    const CALL: Call = Call {
        holder: 7,
        can_wait: false,
    };
    const OK: OutcomeClass = OutcomeClass::Status(200);
    const BAD: OutcomeClass = OutcomeClass::Status(500);

    fn seeded() -> MemoryMap {
        let map = MemoryMap::default();
        seed(&map);
        map
    }

    fn policy() -> BreakerPolicy {
        BreakerPolicy {
            minimum_calls: 10,
            jitter_percent: 0,
            ..BreakerPolicy::default()
        }
    }

    fn call(watch: &mut Watch, map: &MemoryMap, class: OutcomeClass, now_ms: u64) -> Option<Transition> {
        let decided = watch.acquire(map, "api", &policy(), &CALL, now_ms, || 1);
        let permit = decided.leave.unwrap().unwrap();
        watch.resolve(map, permit, &policy(), class, 1, now_ms, || 1)
    }

    fn calls(map: &MemoryMap, now_ms: u64) -> u64 {
        super::super::all(map, &policy(), now_ms)
            .first()
            .map_or(0, |view| view.window.0)
    }

    #[test]
    fn an_ordinary_call_reads_no_record_and_writes_none() {
        let (map, mut watch) = (seeded(), Watch::default());
        call(&mut watch, &map, OK, 1_000);
        let before = (map.reads(), map.writes());
        for _ in 0..HAND_IN - 2 {
            call(&mut watch, &map, OK, 1_001);
        }
        assert_eq!((map.reads(), map.writes()), before);
        assert_eq!(calls(&map, 1_001), 0);
        call(&mut watch, &map, OK, 1_001);
        assert_eq!(calls(&map, 1_001), u64::from(HAND_IN), "a full hand is given");
        call(&mut watch, &map, OK, 1_002);
        call(&mut watch, &map, OK, 1_002 + HAND_IN_MS);
        assert_eq!(calls(&map, 1_102), u64::from(HAND_IN) + 2, "and an old one");
        call(&mut watch, &map, OK, 1_200);
        watch.hand_in(&map, &policy(), 1_201);
        assert_eq!(calls(&map, 1_201), u64::from(HAND_IN) + 3, "and any at the tick");
    }

    #[test]
    fn a_failure_takes_with_it_what_waited() {
        let (map, mut watch) = (seeded(), Watch::default());
        for _ in 0..9 {
            assert!(call(&mut watch, &map, OK, 1_000).is_none());
        }
        for failures in 1..9 {
            assert!(
                call(&mut watch, &map, BAD, 1_000).is_none(),
                "{failures} of {}",
                9 + failures
            );
        }
        assert!(call(&mut watch, &map, BAD, 1_000).is_some(), "nine of eighteen");
    }

    #[test]
    fn another_worker_that_opens_is_noticed_at_the_next_call() {
        let (map, mut one, mut two) = (seeded(), Watch::default(), Watch::default());
        for _ in 0..3 {
            call(&mut one, &map, OK, 1_000);
        }
        for _ in 0..10 {
            call(&mut two, &map, BAD, 1_000);
        }
        let decided = one.acquire(&map, "api", &policy(), &CALL, 1_000, || 1);
        assert!(decided.leave.is_err());
        // What was counted before it opened is of the past.
        one.hand_in(&map, &policy(), 1_000);
        assert_eq!(calls(&map, 1_000), 10);
    }

    #[test]
    fn an_operators_word_is_noticed_at_the_next_call() {
        let (map, mut watch) = (seeded(), Watch::default());
        call(&mut watch, &map, OK, 1_000);
        apply_override(&map, "api", &policy(), Forced::Open, 5_000, 1_000).unwrap();
        assert!(watch.acquire(&map, "api", &policy(), &CALL, 1_001, || 1).leave.is_err());
        assert!(watch.acquire(&map, "api", &policy(), &CALL, 6_000, || 1).leave.is_ok());
    }

    #[test]
    fn what_a_dead_worker_did_not_tell_is_seen_after_a_while() {
        let (map, mut watch) = (seeded(), Watch::default());
        call(&mut watch, &map, OK, 1_000);
        let silent = seeded();
        apply_override(&silent, "api", &policy(), Forced::Open, 60_000, 1_000).unwrap();
        for key in silent.keys() {
            if let Some((value, _)) = silent.get(&key) {
                map.set(&key, &value, None).unwrap();
            }
        }
        assert!(watch.acquire(&map, "api", &policy(), &CALL, 1_999, || 1).leave.is_ok());
        assert!(watch.acquire(&map, "api", &policy(), &CALL, 2_000, || 1).leave.is_err());
    }

    #[test]
    fn a_success_after_a_connect_failure_is_told_at_once() {
        let (map, mut watch) = (seeded(), Watch::default());
        for round in 0..20 {
            for _ in 0..3 {
                assert!(
                    call(&mut watch, &map, OutcomeClass::ConnectFailure, 1_000).is_none(),
                    "{round}"
                );
            }
            for _ in 0..7 {
                call(&mut watch, &map, OK, 1_000);
            }
        }
    }
}
