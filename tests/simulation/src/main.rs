//! Runs seeds for a time, and says what came of it. `SEED=n` runs one; `SECONDS` is how long (3600); `FROM` the first seed.

use simulation::world::{Plan, Summary, run};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let (seconds, one) = (number("SECONDS").unwrap_or(3_600), number("SEED"));
    let from = one.or_else(|| number("FROM")).unwrap_or(0);
    let (begun, mut all, mut runs, mut failed) = (Instant::now(), Summary::default(), 0_u64, 0_u64);
    for seed in from.. {
        if begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        match run(Plan::of(seed)) {
            Ok(summary) => {
                all.answers += summary.answers;
                all.hits += summary.hits;
                all.receipts += summary.receipts;
                all.acknowledged += summary.acknowledged;
                all.faults += summary.faults;
                all.events += summary.events;
                all.fleet_ms += summary.fleet_ms;
            }
            Err(violation) => {
                failed += 1;
                println!(
                    "seed {seed}: {}\n  again: SEED={seed} SIMULATION_TRACE=1 make simulate",
                    violation.0
                );
            }
        }
        runs += 1;
        if one.is_some() {
            break;
        }
    }
    let wall = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let rate = all.fleet_ms as f64 / 1_000.0 / wall;
    println!(
        "{runs} runs, {failed} failed; {} faults, {} events, {} answers ({} hits), {} receipts, {} acknowledged revisions; {rate:.0} fleet-seconds per second",
        all.faults, all.events, all.answers, all.hits, all.receipts, all.acknowledged
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
