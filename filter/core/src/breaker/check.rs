//! Active health checks: where nobody calls a half-open upstream, a request of our own may be the probe.

use super::machine::Pass;
use super::policy::BreakerPolicy;
use super::record::{Forced, Record, State};
use super::table::{RETRIES, StatusBefore, find, permit, records, write};
use super::{BreakerState, Call, Permit, Transition};
use crate::Millis;
use crate::shared_map::{SetError, SharedMap};

/// A half-open breaker without a probe under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// The upstream of the breaker.
    pub upstream: String,
    /// The opening it is about.
    pub generation: u64,
    /// Probes since then that went well.
    pub successes: u32,
}

/// All of them. An operator's override takes precedence over checks, as over calls.
pub fn quiet(map: &impl SharedMap, policy: &BreakerPolicy, now_ms: Millis) -> Vec<Quiet> {
    let quiet = records(map).filter(|(_, record)| record.is_quiet(policy, now_ms));
    quiet
        .map(|(upstream, record)| Quiet {
            upstream,
            generation: record.generation,
            successes: record.probe_successes,
        })
        .collect()
}

/// Leave for a check: it is a probe like any other, but the only one. `None` where a call came first, or another VM.
pub fn begin_check(
    map: &impl SharedMap,
    upstream: &str,
    policy: &BreakerPolicy,
    holder: u64,
    now_ms: Millis,
    random: u64,
) -> Option<Permit> {
    let (key, mut record, cas) = find(map, upstream)?;
    let before = StatusBefore::of(&record, policy);
    if !record.is_quiet(policy, now_ms) {
        return None;
    }
    let call = Call {
        holder,
        can_wait: false,
    };
    let (Pass::Probe(id), _) = record.begin(policy, &call, now_ms, random) else {
        return None;
    };
    write(map, upstream, &key, &record, cas, before.ordinary).ok()?;
    Some(permit(upstream, record.generation, Some(id)))
}

/// Takes in how a check ended; `healthy` is absent where it was never made.
pub fn end_check(
    map: &impl SharedMap,
    permit: &Permit,
    policy: &BreakerPolicy,
    healthy: Option<bool>,
    now_ms: Millis,
    random: u64,
) -> Option<Transition> {
    for _ in 0..RETRIES {
        let (key, mut record, cas) = find(map, &permit.upstream)?;
        let before = StatusBefore::of(&record, policy);
        if !record.give_back(permit) {
            return None;
        }
        if let Some(healthy) = healthy {
            record.judge_probe(policy, !healthy, now_ms, random);
        }
        match write(map, &permit.upstream, &key, &record, cas, before.ordinary) {
            Ok(()) => return before.transition(&permit.upstream, &record, policy, None, now_ms),
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return None,
        }
    }
    None
}

/// Whether calls pass as usual.
pub fn is_closed(map: &impl SharedMap, upstream: &str, policy: &BreakerPolicy, now_ms: Millis) -> bool {
    let Some((_, mut record, _)) = find(map, upstream) else {
        return true;
    };
    record.lapse(policy, now_ms);
    matches!(
        record.shown(policy),
        BreakerState::Closed | BreakerState::ForcedClosed | BreakerState::DryRun
    )
}

impl Record {
    fn is_quiet(&self, policy: &BreakerPolicy, now_ms: Millis) -> bool {
        let judges = matches!(self.forced, Forced::None | Forced::DryRun);
        policy.enabled && judges && self.state == State::HalfOpen && self.under_way(now_ms).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OutcomeClass, Watch, apply_override, sweep};
    use super::*;
    use crate::shared_map::MemoryMap;

    fn policy() -> BreakerPolicy {
        BreakerPolicy {
            jitter_percent: 0,
            probes: 2,
            ..BreakerPolicy::default()
        }
    }

    const CALL: Call = Call {
        holder: 7,
        can_wait: false,
    };

    /// Opens it at 1 s, for 5 s.
    fn opened(policy: &BreakerPolicy) -> (MemoryMap, Watch) {
        let (map, mut watch) = (MemoryMap::default(), Watch::default());
        for _ in 0..policy.consecutive_connect_failures {
            let decided = watch.acquire(&map, "api", policy, &CALL, 1_000, || 1);
            let permit = decided.leave.unwrap().unwrap();
            watch.resolve(&map, permit, policy, OutcomeClass::ConnectFailure, 1, 1_000, || 1);
        }
        (map, watch)
    }

    fn names(map: &MemoryMap, policy: &BreakerPolicy, now_ms: u64) -> Vec<String> {
        quiet(map, policy, now_ms).into_iter().map(|one| one.upstream).collect()
    }

    fn shown(map: &MemoryMap, policy: &BreakerPolicy, now_ms: u64) -> BreakerState {
        super::super::all(map, policy, now_ms).remove(0).state
    }

    #[test]
    fn only_a_half_open_breaker_that_nobody_probes_is_checked_and_once_at_a_time() {
        let policy = policy();
        let (map, mut watch) = opened(&policy);
        assert!(begin_check(&map, "api", &policy, 9, 5_999, 3).is_none(), "open");
        sweep(&map, &policy, |_| true, 6_000);
        assert_eq!(names(&map, &policy, 6_000), ["api"]);
        let check = begin_check(&map, "api", &policy, 9, 6_000, 3).unwrap();
        assert!(names(&map, &policy, 6_100).is_empty(), "under way");
        assert!(begin_check(&map, "api", &policy, 8, 6_100, 5).is_none());
        // One place of two is taken; the other one is a client's.
        let client = watch
            .acquire(&map, "api", &policy, &CALL, 6_200, || 7)
            .leave
            .unwrap()
            .unwrap();
        assert!(watch.acquire(&map, "api", &policy, &CALL, 6_300, || 9).leave.is_err());
        end_check(&map, &check, &policy, Some(true), 6_400, 1);
        end_check(&map, &check, &policy, Some(true), 6_400, 1);
        assert_eq!(
            shown(&map, &policy, 6_400),
            BreakerState::HalfOpen,
            "one check is one probe"
        );
        assert!(
            begin_check(&map, "api", &policy, 9, 6_500, 11).is_none(),
            "a client probes"
        );
        watch.resolve(&map, client, &policy, OutcomeClass::Status(200), 1, 6_600, || 1);
        assert_eq!(shown(&map, &policy, 6_600), BreakerState::Closed);
        assert!(begin_check(&map, "api", &policy, 9, 6_700, 13).is_none(), "closed");
    }

    #[test]
    fn checks_close_it_or_open_it_again() {
        for (healthy, state) in [(true, BreakerState::Closed), (false, BreakerState::Open)] {
            let policy = policy();
            let (map, _) = opened(&policy);
            sweep(&map, &policy, |_| true, 6_000);
            let unmade = begin_check(&map, "api", &policy, 9, 6_000, 3).unwrap();
            assert!(end_check(&map, &unmade, &policy, None, 6_000, 1).is_none());
            while let Some(check) = begin_check(&map, "api", &policy, 9, 6_000, 3) {
                end_check(&map, &check, &policy, Some(healthy), 6_000, 1);
            }
            assert_eq!(shown(&map, &policy, 6_000), state);
        }
    }

    #[test]
    fn what_does_not_judge_is_not_checked() {
        let policy = policy();
        let off = BreakerPolicy {
            enabled: false,
            ..policy.clone()
        };
        let (map, _) = opened(&policy);
        sweep(&map, &policy, |_| true, 6_000);
        assert!(names(&map, &off, 6_000).is_empty());
        for (forced, checked) in [(Forced::Open, false), (Forced::Closed, false), (Forced::DryRun, true)] {
            apply_override(&map, "api", &policy, forced, 60_000, 6_000).unwrap();
            assert_eq!(names(&map, &policy, 6_000).is_empty(), !checked, "{forced:?}");
        }
    }

    #[test]
    fn a_check_that_nobody_ends_gives_its_place_back() {
        let policy = policy();
        let (map, _) = opened(&policy);
        sweep(&map, &policy, |_| true, 6_000);
        begin_check(&map, "api", &policy, 9, 6_000, 3).unwrap();
        sweep(&map, &policy, |vm| vm != 9, 7_000);
        assert!(
            begin_check(&map, "api", &policy, 8, 7_000, 5).is_some(),
            "its VM is gone"
        );
        assert!(begin_check(&map, "api", &policy, 8, 67_001, 7).is_some(), "in time");
    }
}
