//! A few seeds of the simulated fleet, that a seed is a run, and that a failing one is made smaller. `make simulate` goes on for an hour.

use simulation::faults::{Faults, Kind};
use simulation::plan::{ACTORS, Plan, Summary, Violation};
use simulation::run;
use simulation::shrink::shrink;

fn all_hold(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let plan = Plan::of(seed);
        let summary = run(&plan).unwrap_or_else(|violation| {
            panic!("{plan}: {violation:?}\nagain, with its events: RUN='{plan}' SIMULATION_TRACE=1 make simulate",)
        });
        assert!(summary.answers > 100 && summary.hits > 0, "{plan}: {summary:?}");
    }
}

#[test]
fn what_was_promised_holds_whatever_happens() {
    all_hold(0..8);
}

#[test]
fn so_it_does_from_other_seeds() {
    all_hold(1_000..1_008);
}

#[test]
fn replicas_stay_one_while_redis_and_they_themselves_are_lost() {
    let faults = [
        (Kind::RedisPartition, 4_000),
        (Kind::RedisFailover, 12_000),
        (Kind::Replica, 6_000),
        (Kind::Cut, 2_000),
    ];
    let mut all = Summary::default();
    for seed in 0..4 {
        let plan = Plan {
            envoys: 2,
            workers: 1,
            replicas: 3,
            troubled_ms: 40_000,
            faults: Some(Faults::only(&faults)),
            ..Plan::of(seed)
        };
        let summary = run(&plan).unwrap_or_else(|violation| panic!("RUN='{plan}': {violation:?}"));
        assert!(summary.faults > 10 && summary.written > 2, "{plan}: {summary:?}");
        all.add(&summary);
    }
    assert!(all.tier_hits > 0 && all.overrides > 0, "{all:?}");
}

#[test]
fn a_seed_is_a_run() {
    let plan = Plan::of(4);
    let (one, two) = (run(&plan).unwrap(), run(&plan).unwrap());
    assert_eq!(one, two);
    assert_ne!(one.trace, run(&Plan::of(5)).unwrap().trace);
}

#[test]
fn without_faults_everything_is_in_order_at_once() {
    for replicas in [1, 3] {
        let plan = Plan {
            envoys: 2,
            workers: 3,
            replicas,
            troubled_ms: 60_000,
            faults: Some(Faults::NONE),
            ..Plan::of(7)
        };
        let summary = run(&plan).unwrap_or_else(|violation| panic!("{replicas}: {violation:?}"));
        assert_eq!(summary.faults, 0);
        assert!(summary.receipts > 10 && summary.acknowledged > 2, "{summary:?}");
        assert!(summary.written > 2 && summary.overrides > 0, "{summary:?}");
        assert!(summary.tier_hits > 0, "{summary:?}");
    }
}

#[test]
fn a_failing_run_is_made_smaller_and_can_be_run_again() {
    // As if nobody had ever acknowledged a revision after two faults.
    let fails = |plan: &Plan| {
        let summary = run(plan)?;
        let carried_out = summary.faults.saturating_sub(plan.spared.len() as u64);
        if carried_out < 2 {
            return Ok(());
        }
        Err(Violation {
            what: String::new(),
            at_ms: plan.troubled_ms + 60_000,
            faults: summary.faults,
        })
    };
    let plan = Plan {
        troubled_ms: 20_000,
        faults: Some(Faults::only(&[(Kind::Cut, 1_000), (Kind::Stall, 2_000)])),
        ..Plan::of(2)
    };
    let violation = fails(&plan).unwrap_err();
    assert!(violation.faults > 3, "{violation:?}");
    let (smaller, found) = shrink(&plan, violation, fails);
    assert_eq!(found.faults - smaller.spared.len() as u64, 2, "{smaller}");
    assert_eq!(
        (smaller.envoys, smaller.workers, smaller.replicas),
        (1, 1, 1),
        "{smaller}"
    );
    assert_eq!(smaller.without.len(), ACTORS.len(), "{smaller}");
    let again = Plan::read(&smaller.to_string()).unwrap();
    assert_eq!(again.to_string(), smaller.to_string());
    assert_eq!(fails(&again).unwrap_err(), found);
}
