//! What time alone changes. Without calls nobody would notice it.

use super::Transition;
use super::policy::BreakerPolicy;
use super::record::{Cause, Forced, Record, State};
use super::table::{StatusBefore, find, records, write};
use crate::Millis;
use crate::shared_map::SharedMap;

/// Takes back an operator's override that has run out and the probes of VMs that are gone. Makes an open breaker half-open when its wait
/// is over: a quiet upstream does not look shut until somebody calls it.
pub fn sweep(
    map: &impl SharedMap,
    policy: &BreakerPolicy,
    alive: impl Fn(u64) -> bool,
    now_ms: Millis,
) -> Vec<Transition> {
    let mut transitions = Vec::new();
    for (upstream, record) in records(map) {
        let lapsing = record.forced != Forced::None && record.forced_now(now_ms) == Forced::None;
        let deserted = record.probes.iter().any(|probe| !alive(probe.holder));
        if !lapsing && !deserted && !record.may_try(policy, now_ms) {
            continue;
        }
        let Some((key, mut record, cas)) = find(map, &upstream) else {
            continue;
        };
        let before = StatusBefore::of(&record, policy);
        let overridden = record.lapse(policy, now_ms).then_some(Cause::OverrideExpired);
        record.take_back(&alive);
        if record.may_try(policy, now_ms) {
            record.enter(State::HalfOpen, now_ms);
        }
        // Whoever won the race has noticed the same, and of the probes the next sweep takes care.
        if write(map, &upstream, &key, &record, cas, before.ordinary).is_ok() {
            transitions.extend(before.transition(&upstream, &record, policy, overridden, now_ms));
        }
    }
    transitions
}

impl Record {
    /// Open, with the wait over, and no operator's override above it.
    fn may_try(&self, policy: &BreakerPolicy, now_ms: Millis) -> bool {
        let judges = matches!(self.forced, Forced::None | Forced::DryRun);
        policy.enabled && judges && self.is_due(policy, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BreakerState, Call, OutcomeClass, View, Watch, all, apply_override};
    use super::*;
    use crate::shared_map::MemoryMap;

    fn policy() -> BreakerPolicy {
        BreakerPolicy {
            jitter_percent: 0,
            ..BreakerPolicy::default()
        }
    }

    /// Opens it at this time, for five seconds.
    fn open(map: &MemoryMap, policy: &BreakerPolicy, now_ms: u64) {
        let call = Call {
            holder: 7,
            can_wait: false,
        };
        let mut watch = Watch::default();
        for _ in 0..policy.consecutive_connect_failures {
            let permit = watch
                .acquire(map, "api", policy, &call, now_ms, || 1)
                .leave
                .unwrap()
                .unwrap();
            watch.resolve(map, permit, policy, OutcomeClass::ConnectFailure, 1, now_ms, || 1);
        }
    }

    fn view(map: &MemoryMap, policy: &BreakerPolicy, now_ms: u64) -> View {
        all(map, policy, now_ms).remove(0)
    }

    #[test]
    fn without_calls_it_is_half_open_when_the_wait_is_over() {
        let (map, policy) = (MemoryMap::default(), policy());
        open(&map, &policy, 1_000);
        let before = view(&map, &policy, 5_999);
        assert_eq!((before.state, before.next_probe_ms), (BreakerState::Open, 6_000));
        assert!(sweep(&map, &policy, |_| true, 5_999).is_empty());
        // Also where nobody has swept yet.
        let by_time = view(&map, &policy, 6_000);
        assert_eq!(
            (by_time.state, by_time.next_probe_ms, by_time.since_ms),
            (BreakerState::HalfOpen, 0, 6_000)
        );
        let told = sweep(&map, &policy, |_| true, 6_400).pop().unwrap();
        assert_eq!((told.from, told.to), (BreakerState::Open, BreakerState::HalfOpen));
        assert!(sweep(&map, &policy, |_| true, 6_500).is_empty(), "told once");
        let after = view(&map, &policy, 999_000);
        assert_eq!(
            (after.state, after.next_probe_ms, after.probes),
            (BreakerState::HalfOpen, 0, 0)
        );
    }

    #[test]
    fn an_operators_word_and_a_dry_run_stay_above_it() {
        for (forced, shown, judged) in [
            (Forced::Open, BreakerState::ForcedOpen, State::Open),
            (Forced::Closed, BreakerState::ForcedClosed, State::Open),
            (Forced::DryRun, BreakerState::DryRun, State::HalfOpen),
        ] {
            let (map, policy) = (MemoryMap::default(), policy());
            open(&map, &policy, 1_000);
            apply_override(&map, "api", &policy, forced, 60_000, 2_000).unwrap();
            sweep(&map, &policy, |_| true, 7_000);
            assert_eq!(view(&map, &policy, 7_000).state, shown);
            let (_, record, _) = find(&map, "api").unwrap();
            assert_eq!(record.state, judged, "{forced:?}");
        }
    }

    #[test]
    fn switched_off_it_changes_nothing() {
        let (map, mut policy) = (MemoryMap::default(), policy());
        open(&map, &policy, 1_000);
        policy.enabled = false;
        assert!(sweep(&map, &policy, |_| true, 7_000).is_empty());
    }
}
