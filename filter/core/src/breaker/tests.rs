//! The breaker as a whole, over a shared map.

use super::*;
use crate::shared_map::MemoryMap;

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        minimum_calls: 10,
        jitter_percent: 0,
        ..BreakerPolicy::default()
    }
}

fn call(
    map: &MemoryMap,
    policy: &BreakerPolicy,
    class: OutcomeClass,
    now_ms: u64,
) -> Result<Option<Transition>, Refusal> {
    let (permit, began) = acquire(map, "api", policy, now_ms, now_ms)?;
    let ended = resolve(map, permit.unwrap(), policy, class, 1, now_ms, 0);
    Ok(ended.or(began))
}

fn state(map: &MemoryMap, now_ms: u64) -> &'static str {
    all(map, &policy(), now_ms).first().map_or("closed", |view| view.state)
}

#[test]
fn opens_at_the_failure_rate_whatever_the_request_rate() {
    for gap_ms in [1, 10, 100] {
        let map = MemoryMap::default();
        let policy = policy();
        let mut now_ms = 1_000_000;
        let mut opened = None;
        for index in 0..40 {
            let class = OutcomeClass::Status(if index % 2 == 0 { 500 } else { 200 });
            now_ms += gap_ms;
            if let Some(transition) = call(&map, &policy, class, now_ms).unwrap() {
                opened = Some((index, transition.cause));
                break;
            }
        }
        assert_eq!(
            opened,
            Some((9, Cause::FailureRate)),
            "at the tenth call, every {gap_ms} ms"
        );
    }
}

#[test]
fn too_few_calls_and_what_is_no_failure_do_not_open() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy {
        consecutive_connect_failures: 0,
        ..policy()
    };
    for index in 0..9 {
        call(&map, &policy, OutcomeClass::ConnectFailure, 1000 + index).unwrap();
    }
    assert_eq!(state(&map, 1010), "closed");
    let map = MemoryMap::default();
    for index in 0..100 {
        for class in [
            OutcomeClass::Status(404),
            OutcomeClass::ClientGone,
            OutcomeClass::Overflow,
            OutcomeClass::Local,
        ] {
            call(&map, &policy, class, 1000 + index).unwrap();
        }
    }
    assert_eq!(state(&map, 1100), "closed");
}

#[test]
fn old_calls_leave_the_window() {
    let map = MemoryMap::default();
    let policy = policy();
    for index in 0..9 {
        call(&map, &policy, OutcomeClass::Status(500), 1_000_000 + index).unwrap();
    }
    let later = 1_000_000 + policy.window_ms + 1;
    assert_eq!(call(&map, &policy, OutcomeClass::Status(500), later).unwrap(), None);
    assert_eq!(state(&map, later), "closed");
}

#[test]
fn connect_failures_in_a_row_and_slow_calls_open_too() {
    let map = MemoryMap::default();
    let policy = policy();
    for index in 0..4 {
        assert_eq!(
            call(&map, &policy, OutcomeClass::ConnectFailure, 1000 + index).unwrap(),
            None
        );
    }
    let opened = call(&map, &policy, OutcomeClass::ConnectFailure, 1005)
        .unwrap()
        .unwrap();
    assert_eq!(
        (opened.from, opened.to, opened.cause),
        (State::Closed, State::Open, Cause::ConnectFailures)
    );

    let map = MemoryMap::default();
    let policy = BreakerPolicy {
        slow_call_rate_percent: 100,
        slow_call_ms: 1,
        ..policy
    };
    let opened = (0..10)
        .filter_map(|index| call(&map, &policy, OutcomeClass::Status(200), 1000 + index).unwrap())
        .next();
    assert_eq!(opened.unwrap().cause, Cause::SlowCallRate);
}

fn opened_at(map: &MemoryMap, policy: &BreakerPolicy, now_ms: u64) {
    for _ in 0..5 {
        call(map, policy, OutcomeClass::ConnectFailure, now_ms).unwrap();
    }
    assert_eq!(state(map, now_ms), "open");
}

#[test]
fn recovers_through_probes() {
    let map = MemoryMap::default();
    let policy = policy();
    opened_at(&map, &policy, 1000);
    let refusal = acquire(&map, "api", &policy, 2000, 1).unwrap_err();
    assert_eq!(refusal.retry_after_ms, 4000);
    let permits: Vec<_> = (0..3)
        .map(|index| acquire(&map, "api", &policy, 6000, index * 2).unwrap().0.unwrap())
        .collect();
    assert!(
        acquire(&map, "api", &policy, 6000, 99).is_err(),
        "three probes and no more"
    );
    let ended: Vec<_> = permits
        .into_iter()
        .map(|permit| {
            let end = |permit| resolve(&map, permit, &policy, OutcomeClass::Status(200), 1, 6001, 0);
            let first = end(permit.clone());
            assert_eq!(end(permit), None, "a permit counts once");
            first.map(|transition| transition.to)
        })
        .collect();
    assert_eq!(ended, [None, None, Some(State::Closed)]);
    assert_eq!(state(&map, 6001), "closed");
}

#[test]
fn a_failed_probe_doubles_the_wait_up_to_the_cap() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy {
        open_wait_max_ms: 12_000,
        ..policy()
    };
    opened_at(&map, &policy, 0);
    let mut now_ms = 0;
    for wait in [5_000, 10_000, 12_000, 12_000] {
        assert!(acquire(&map, "api", &policy, now_ms + wait - 1, 3).is_err());
        now_ms += wait;
        let (permit, _) = acquire(&map, "api", &policy, now_ms, 3).unwrap();
        let opened = resolve(&map, permit.unwrap(), &policy, OutcomeClass::Timeout, 1, now_ms, 0).unwrap();
        assert_eq!(opened.cause, Cause::ProbeFailed);
    }
}

#[test]
fn a_probe_that_never_ends_gives_its_place_back() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy { probes: 1, ..policy() };
    opened_at(&map, &policy, 0);
    let (lost, _) = acquire(&map, "api", &policy, 5_000, 1).unwrap();
    assert!(acquire(&map, "api", &policy, 6_000, 2).is_err());
    let (found, _) = acquire(&map, "api", &policy, 70_000, 4).unwrap();
    assert_eq!(
        resolve(&map, lost.unwrap(), &policy, OutcomeClass::Timeout, 1, 70_001, 0),
        None,
        "its time has run out"
    );
    assert_eq!(
        resolve(&map, found.unwrap(), &policy, OutcomeClass::Status(200), 1, 70_002, 0)
            .unwrap()
            .to,
        State::Closed
    );
}

#[test]
fn an_operator_overrules_and_the_word_runs_out() {
    let map = MemoryMap::default();
    let policy = policy();
    assert!(steer(&map, "api", Forced::Open, 10_000, 0));
    assert!(acquire(&map, "api", &policy, 1, 1).is_err());
    assert_eq!(state(&map, 1), "forced_open");
    assert!(acquire(&map, "api", &policy, 10_001, 1).is_ok());
    opened_at(&map, &policy, 20_000);
    steer(&map, "api", Forced::Closed, 30_000, 20_001);
    assert!(acquire(&map, "api", &policy, 20_002, 1).is_ok());
    steer(&map, "api", Forced::DryRun, 30_000, 20_003);
    assert!(acquire(&map, "api", &policy, 20_004, 1).is_ok());
    assert!(all(&map, &policy, 20_004)[0].refused >= 2, "counted though let through");
    steer(&map, "api", Forced::None, 0, 20_005);
    assert_eq!(state(&map, 20_006), "closed");
}

#[test]
fn a_clock_that_jumps_back_does_not_keep_it_open() {
    let map = MemoryMap::default();
    let policy = policy();
    opened_at(&map, &policy, 1_000_000_000);
    assert!(acquire(&map, "api", &policy, 5, 1).is_ok());
}

#[test]
fn workers_together_never_exceed_the_probes() {
    let map = MemoryMap::default();
    let policy = policy();
    opened_at(&map, &policy, 0);
    let passed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8_u64)
            .map(|worker| {
                let (map, policy) = (&map, &policy);
                scope.spawn(move || {
                    (0..50)
                        .filter(|turn| acquire(map, "api", policy, 6_000, worker * 1000 + turn * 2).is_ok())
                        .count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(passed, 3);
}

#[test]
fn upstreams_are_apart_and_a_host_in_trouble_refuses_nobody() {
    let map = MemoryMap::default();
    let policy = policy();
    opened_at(&map, &policy, 0);
    assert!(acquire(&map, "other", &policy, 1, 1).is_ok());
    map.fail_all(true);
    assert!(acquire(&map, "api", &policy, 1, 1).is_ok());
}
