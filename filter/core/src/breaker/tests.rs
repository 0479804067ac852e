//! The breaker as a whole, over a shared map.

mod operators;

use super::*;
use crate::shared_map::MemoryMap;

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        minimum_calls: 10,
        jitter_percent: 0,
        ..BreakerPolicy::default()
    }
}

/// Somebody's call that cannot wait.
const CALL: Call = Call {
    holder: 7,
    can_wait: false,
};

/// Over the record each time, as where no worker knows the breaker.
fn acquire(
    map: &MemoryMap,
    upstream: &str,
    policy: &BreakerPolicy,
    call: &Call,
    now_ms: u64,
    random: u64,
) -> (Result<Option<Permit>, Refusal>, Option<Transition>) {
    let decided = table::acquire(map, upstream, policy, call, now_ms, random);
    (decided.leave, decided.transition)
}

fn resolve(
    map: &MemoryMap,
    permit: Permit,
    policy: &BreakerPolicy,
    class: OutcomeClass,
    took_ms: u64,
    now_ms: u64,
    random: u64,
) -> Option<Transition> {
    table::resolve(map, permit, policy, class, took_ms, 0, now_ms, random)
}

fn ask(map: &MemoryMap, policy: &BreakerPolicy, now_ms: u64, random: u64) -> Result<Option<Permit>, Refusal> {
    acquire(map, "api", policy, &CALL, now_ms, random).0
}

fn call(
    map: &MemoryMap,
    policy: &BreakerPolicy,
    class: OutcomeClass,
    now_ms: u64,
) -> Result<Option<Transition>, Refusal> {
    let (permit, began) = acquire(map, "api", policy, &CALL, now_ms, now_ms);
    let ended = resolve(map, permit?.unwrap(), policy, class, 1, now_ms, 0);
    Ok(ended.or(began))
}

fn state(map: &MemoryMap, now_ms: u64) -> &'static str {
    all(map, &policy(), now_ms)
        .first()
        .map_or("closed", |view| view.state.as_str())
}

fn says(map: &MemoryMap, policy: &BreakerPolicy, forced: Forced, until_ms: u64, now_ms: u64) -> Option<Transition> {
    apply_override(map, "api", policy, forced, until_ms, now_ms).unwrap()
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
        (BreakerState::Closed, BreakerState::Open, Cause::ConnectFailures)
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
    let refusal = ask(&map, &policy, 2000, 1).unwrap_err();
    assert_eq!(refusal.retry_after_ms, 4000);
    let permits: Vec<_> = (0..3)
        .map(|index| ask(&map, &policy, 6000, index * 2).unwrap().unwrap())
        .collect();
    assert!(ask(&map, &policy, 6000, 99).is_err(), "three probes and no more");
    let ended: Vec<_> = permits
        .into_iter()
        .map(|permit| {
            let end = |permit| resolve(&map, permit, &policy, OutcomeClass::Status(200), 1, 6001, 0);
            let first = end(permit.clone());
            assert_eq!(end(permit), None, "a permit counts once");
            first.map(|transition| transition.to)
        })
        .collect();
    assert_eq!(ended, [None, None, Some(BreakerState::Closed)]);
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
        assert!(ask(&map, &policy, now_ms + wait - 1, 3).is_err());
        now_ms += wait;
        let permit = ask(&map, &policy, now_ms, 3).unwrap();
        let opened = resolve(&map, permit.unwrap(), &policy, OutcomeClass::Timeout, 1, now_ms, 0).unwrap();
        assert_eq!(opened.cause, Cause::ProbeFailed);
    }
}

#[test]
fn a_probe_that_never_ends_gives_its_place_back() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy { probes: 1, ..policy() };
    opened_at(&map, &policy, 0);
    let lost = ask(&map, &policy, 5_000, 1).unwrap();
    assert!(ask(&map, &policy, 6_000, 2).is_err());
    let found = ask(&map, &policy, 70_000, 4).unwrap();
    assert_eq!(
        resolve(&map, lost.unwrap(), &policy, OutcomeClass::Timeout, 1, 70_001, 0),
        None,
        "its time has run out"
    );
    assert_eq!(
        resolve(&map, found.unwrap(), &policy, OutcomeClass::Status(200), 1, 70_002, 0)
            .unwrap()
            .to,
        BreakerState::Closed
    );
}

#[test]
fn a_clock_that_jumps_back_does_not_keep_it_open() {
    let map = MemoryMap::default();
    let policy = policy();
    opened_at(&map, &policy, 1_000_000_000);
    assert!(ask(&map, &policy, 5, 1).is_ok());
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
                        .filter(|turn| ask(map, policy, 6_000, worker * 1000 + turn * 2).is_ok())
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
    assert!(acquire(&map, "other", &policy, &CALL, 1, 1).0.is_ok());
    map.fail_all(true);
    assert!(ask(&map, &policy, 1, 1).is_ok());
}

#[test]
fn what_it_saw_when_it_opened_stays_while_the_window_moves_on() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy {
        open_wait_ms: 60_000,
        ..policy()
    };
    for index in 0..10 {
        call(
            &map,
            &policy,
            OutcomeClass::Status(if index < 5 { 200 } else { 500 }),
            1_000 + index,
        )
        .unwrap();
    }
    let view = all(&map, &policy, 60_000).remove(0);
    assert_eq!((view.state, view.window), (BreakerState::Open, (0, 0, 0)));
    assert_eq!((view.evidence.calls, view.evidence.failures), (10, 5));
    assert_eq!((view.cause, view.next_probe_ms), (Cause::FailureRate, 61_009));
}

#[test]
fn probes_of_a_vm_that_is_gone_are_taken_back() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy { probes: 1, ..policy() };
    opened_at(&map, &policy, 0);
    let lost = ask(&map, &policy, 5_000, 1).unwrap();
    sweep(&map, &policy, |uid| uid == CALL.holder, 5_100);
    assert!(ask(&map, &policy, 5_100, 2).is_err(), "its VM is alive");
    sweep(&map, &policy, |_| false, 5_200);
    let found = ask(&map, &policy, 5_200, 4).unwrap().unwrap();
    let end = |permit| resolve(&map, permit, &policy, OutcomeClass::Status(200), 1, 5_300, 0);
    assert_eq!(end(lost.unwrap()), None, "what was taken back says nothing any more");
    assert_eq!(end(found).unwrap().to, BreakerState::Closed);
}

#[test]
fn a_client_that_leaves_frees_its_probe_and_decides_nothing() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy { probes: 1, ..policy() };
    opened_at(&map, &policy, 0);
    for turn in 0..5 {
        let probe = ask(&map, &policy, 6_000 + turn, turn * 2).unwrap().unwrap();
        let told = resolve(&map, probe, &policy, OutcomeClass::ClientGone, 60_000, 6_000 + turn, 0);
        assert_eq!(told, None);
        assert_eq!(state(&map, 6_000 + turn), "half_open");
    }
}

#[test]
fn after_a_recovery_calls_that_can_wait_are_held_to_the_usual_rate() {
    let map = MemoryMap::default();
    let policy = policy();
    let waits = Call { can_wait: true, ..CALL };
    // 100 calls a second for the ten seconds of the window.
    for ms in (0..10_000).step_by(10) {
        call(&map, &policy, OutcomeClass::Status(200), 1_000_000 + ms).unwrap();
    }
    opened_at(&map, &policy, 1_010_000);
    for turn in 0..3 {
        call(&map, &policy, OutcomeClass::Status(200), 1_015_001 + turn).unwrap();
    }
    assert_eq!(state(&map, 1_015_004), "closed");
    let mut passed = 0;
    for ms in 0..1_000 {
        match acquire(&map, "api", &policy, &waits, 1_015_010 + ms, ms).0 {
            Ok(_) => passed += 1,
            Err(refusal) => assert_eq!(refusal.why, Why::Recovering),
        }
    }
    assert!((85..=110).contains(&passed), "{passed} in a second");
    assert!(ask(&map, &policy, 1_016_011, 1).is_ok(), "what cannot wait goes");
    let view = all(&map, &policy, 1_016_011).remove(0);
    assert!(view.recovering_since_ms > 0 && view.deferred > 800, "{view:?}");
    let over = 1_015_010 + policy.ramp_ms;
    assert!(acquire(&map, "api", &policy, &waits, over, 1).0.is_ok());
    assert_eq!(
        all(&map, &policy, over)[0].recovering_since_ms,
        0,
        "nothing had to wait lately"
    );
}

#[test]
fn first_samples_are_not_lost_between_threads() {
    let map = MemoryMap::default();
    seed(&map);
    let policy = BreakerPolicy {
        minimum_calls: 1_000,
        ..policy()
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| drop(call(&map, &policy, OutcomeClass::Status(200), 1_000))));
        }
    });
    assert_eq!(all(&map, &policy, 1_000)[0].window.0, 400);
}

#[test]
fn switched_off_it_shows_nothing_and_stops_nothing() {
    let map = MemoryMap::default();
    opened_at(&map, &policy(), 0);
    let off = BreakerPolicy {
        enabled: false,
        ..policy()
    };
    assert!(all(&map, &off, 1).is_empty());
    assert_eq!(ask(&map, &off, 1, 1), Ok(None));
}
