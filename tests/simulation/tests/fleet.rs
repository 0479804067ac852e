//! A few seeds of the simulated fleet, and that a seed is a run. `make simulate` goes on for an hour.

use simulation::faults::Faults;
use simulation::world::{Plan, run};

fn all_hold(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let summary = run(Plan::of(seed)).unwrap_or_else(|violation| {
            panic!(
                "seed {seed}: {}\nagain, with its events: SEED={seed} SIMULATION_TRACE=1 make simulate",
                violation.0
            )
        });
        assert!(summary.answers > 300 && summary.hits > 0, "seed {seed}: {summary:?}");
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
fn a_seed_is_a_run() {
    let plan = Plan::of(4);
    let (one, two) = (run(plan).unwrap(), run(plan).unwrap());
    assert_eq!(one, two);
    assert_ne!(one.trace, run(Plan::of(5)).unwrap().trace);
}

#[test]
fn without_faults_everything_is_in_order_at_once() {
    let plan = Plan {
        envoys: 2,
        workers: 3,
        faults: Some(Faults::NONE),
        ..Plan::of(7)
    };
    let summary = run(plan).unwrap();
    assert_eq!(summary.faults, 0);
    assert!(summary.receipts > 10 && summary.acknowledged > 2, "{summary:?}");
}
