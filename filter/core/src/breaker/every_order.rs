//! Breaker records, permits of probes and what workers know of a breaker, in every order of their calls, with a VM that may die between
//! any two.

use super::table::{acquire, resolve};
use super::{BreakerPolicy, BreakerState, Call, Forced, OutcomeClass, Watch, all, apply_override, seed, sweep};
use crate::shared_map::explore::{Data, Stepped, WorkerState, explore};
use crate::shared_map::{MemoryMap, SharedMap};

const NOW_MS: u64 = 1_800_000_000_000;
const OK: OutcomeClass = OutcomeClass::Status(200);
const BAD: OutcomeClass = OutcomeClass::Status(500);
/// A worker tells another by it that it has ended: no call of the breaker's.
const FLAG: &[u8] = b"flag";

fn policy(minimum_calls: u32, probes: u32) -> BreakerPolicy {
    BreakerPolicy {
        minimum_calls,
        probes,
        jitter_percent: 0,
        ramp_ms: 0,
        ..BreakerPolicy::default()
    }
}

fn of(holder: u64) -> Call {
    Call {
        holder,
        can_wait: false,
    }
}

fn seeded() -> MemoryMap {
    let map = MemoryMap::default();
    seed(&map);
    map
}

/// Open, its wait over at [`NOW_MS`].
fn rested(policy: &BreakerPolicy) -> MemoryMap {
    let map = seeded();
    let then_ms = NOW_MS - policy.open_wait_ms;
    for number in 0..policy.minimum_calls.into() {
        let leave = acquire(&map, "api", policy, &of(9), then_ms, number).leave;
        resolve(&map, leave.unwrap().unwrap(), policy, BAD, 1, 0, then_ms, 0);
    }
    assert_eq!(shown(&map, policy, then_ms), BreakerState::Open);
    map
}

fn shown(map: &impl SharedMap, policy: &BreakerPolicy, now_ms: u64) -> BreakerState {
    let views = all(map, policy, now_ms);
    views
        .iter()
        .find(|view| view.upstream == "api")
        .map_or(BreakerState::Closed, |view| view.state)
}

/// Calls and failures that count at the moment.
fn window(map: &impl SharedMap, policy: &BreakerPolicy, upstream: &str) -> (u64, u64) {
    let views = all(map, policy, NOW_MS);
    let view = views.iter().find(|view| view.upstream == upstream);
    view.map_or((0, 0), |view| (view.window.0, view.window.1))
}

/// Asks for leave, and says how the call ended where there is one to say.
fn call<'p>(
    policy: &'p BreakerPolicy,
    upstream: &'p str,
    holder: u64,
    class: Option<OutcomeClass>,
) -> impl Fn(&Stepped<'_>) -> String + 'p {
    move |map| match acquire(map, upstream, policy, &of(holder), NOW_MS, holder * 2).leave {
        Ok(Some(permit)) => {
            let kind = if permit.is_probe() { "probe" } else { "free" };
            if let Some(class) = class {
                resolve(map, permit, policy, class, 1, 0, NOW_MS, 0);
            }
            kind.to_owned()
        }
        Ok(None) => "uncounted".to_owned(),
        Err(_) => "refused".to_owned(),
    }
}

fn count(workers: &[WorkerState], what: &str) -> usize {
    workers.iter().filter(|one| one.result() == Some(what)).count()
}

fn dead(workers: &[WorkerState]) -> usize {
    workers.iter().filter(|one| **one == WorkerState::Dead).count()
}

/// The breaker is not stuck: once the dead are known to be gone, it lets a call pass.
fn goes_on(data: &Data, policy: &BreakerPolicy, workers: &[WorkerState]) {
    let data = data.clone();
    let alive = |holder: u64| {
        let at = usize::try_from(holder).unwrap().checked_sub(1);
        at.and_then(|at| workers.get(at)) != Some(&WorkerState::Dead)
    };
    let later_ms = NOW_MS + policy.open_wait_max_ms * 2;
    sweep(&data, policy, alive, later_ms);
    let leave = acquire(&data, "api", policy, &of(8), later_ms, 1).leave;
    assert!(matches!(leave, Ok(Some(_))), "{leave:?} {workers:?}");
}

#[test]
fn no_more_probes_than_there_are_places() {
    for places in [1, 2] {
        let policy = policy(1, places);
        let map = rested(&policy);
        let [one, two, three] = [1, 2, 3].map(|holder| call(&policy, "api", holder, None));
        let states = explore(&map, &[&one, &two, &three], 1, |data, workers| {
            let probes = count(workers, "probe");
            let most = usize::try_from(places).unwrap();
            let fits = if dead(workers) == 0 {
                probes == most
            } else {
                probes <= most
            };
            assert!(fits, "{workers:?}");
            assert_eq!(count(workers, "free") + count(workers, "uncounted"), 0, "{workers:?}");
            goes_on(data, &policy, workers);
        });
        assert!(states > 100, "{states}");
    }
}

#[test]
fn a_dead_vm_gives_its_probe_back() {
    let policy = policy(1, 1);
    let map = rested(&policy);
    let (one, two) = (call(&policy, "api", 1, Some(OK)), call(&policy, "api", 2, Some(OK)));
    explore(&map, &[&one, &two], 1, |data, workers| {
        let now = shown(data, &policy, NOW_MS);
        assert!(dead(workers) > 0 || now == BreakerState::Closed, "{now:?} {workers:?}");
        goes_on(data, &policy, workers);
    });
}

#[test]
fn probes_that_go_well_close_it_and_one_that_fails_opens_it() {
    let policy = policy(1, 2);
    let map = rested(&policy);
    let well = [1, 2].map(|holder| call(&policy, "api", holder, Some(OK)));
    explore(&map, &[&well[0], &well[1]], 1, |data, workers| {
        let now = shown(data, &policy, NOW_MS);
        assert!(dead(workers) > 0 || now == BreakerState::Closed, "{now:?} {workers:?}");
        goes_on(data, &policy, workers);
    });
    let bad = call(&policy, "api", 2, Some(BAD));
    explore(&map, &[&well[0], &bad], 1, |data, workers| {
        let failed = workers[1].result() == Some("probe");
        let now = shown(data, &policy, NOW_MS);
        assert!(!failed || now == BreakerState::Open, "{now:?} {workers:?}");
        goes_on(data, &policy, workers);
    });
}

#[test]
fn no_call_is_lost_nor_counted_twice() {
    let policy = policy(100, 1);
    let bad = [1, 2].map(|holder| call(&policy, "api", holder, Some(BAD)));
    let good = call(&policy, "api", 3, Some(OK));
    // The first calls of all: the record comes into being.
    let states = explore(&seeded(), &[&bad[0], &bad[1], &good], 1, |data, workers| {
        let (calls, failures) = window(data, &policy, "api");
        let ended = count(workers, "free") as u64;
        assert!(
            (ended..=ended + dead(workers) as u64).contains(&calls),
            "{calls} {workers:?}"
        );
        assert!(
            failures <= calls && (dead(workers) > 0 || failures == 2),
            "{failures} {workers:?}"
        );
    });
    assert!(states > 100, "{states}");
}

#[test]
fn failures_of_two_workers_open_it() {
    let policy = policy(2, 1);
    let bad = [1, 2].map(|holder| call(&policy, "api", holder, Some(BAD)));
    explore(&seeded(), &[&bad[0], &bad[1]], 1, |data, workers| {
        let now = shown(data, &policy, NOW_MS);
        assert!(dead(workers) > 0 || now == BreakerState::Open, "{now:?} {workers:?}");
    });
}

#[test]
fn two_upstreams_that_want_the_same_place_both_get_one() {
    let place = |name: &str| xxhash_rust::xxh3::xxh3_64(name.as_bytes()) % 256;
    let other = (0..).map(|number| format!("other-{number}"));
    let other = other.into_iter().find(|name| place(name) == place("api")).unwrap();
    let policy = policy(100, 1);
    let (one, two) = (call(&policy, "api", 1, Some(BAD)), call(&policy, &other, 2, Some(BAD)));
    explore(&seeded(), &[&one, &two], 1, |data, workers| {
        for (name, workers) in ["api", &other].into_iter().zip(workers) {
            let counted = window(data, &policy, name);
            assert!(workers.result().is_none() || counted == (1, 1), "{name} {counted:?}");
        }
    });
}

#[test]
fn an_operators_word_is_not_lost_and_holds_from_then_on() {
    let policy = policy(1, 1);
    let word = |map: &Stepped<'_>| {
        apply_override(map, "api", &policy, Forced::Open, NOW_MS + 60_000, NOW_MS).unwrap();
        let _ = map.set(FLAG, b"1", None);
        "said".to_owned()
    };
    let bad = call(&policy, "api", 1, Some(BAD));
    // It has called before, and knows the breaker as closed.
    let knows = |map: &Stepped<'_>| {
        let mut watch = Watch::default();
        let mut ask = || watch.acquire(map, "api", &policy, &of(2), NOW_MS, || 5).leave.is_ok();
        ask();
        ask();
        let said = map.get(FLAG).is_some();
        let passes = ask();
        assert!(!said || !passes, "passed after the word");
        String::new()
    };
    let holds = |data: &Data, workers: &[WorkerState]| {
        let now = shown(data, &policy, NOW_MS);
        let said = workers[0].result() == Some("said");
        assert!(!said || now == BreakerState::ForcedOpen, "{now:?} {workers:?}");
    };
    explore(&seeded(), &[&word, &bad], 1, holds);
    explore(&seeded(), &[&word, &knows], 1, holds);
}
