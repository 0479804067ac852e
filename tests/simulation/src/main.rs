//! Runs seeds for a time, and says what came of it. `SECONDS` is how long (3600), `FROM` the first seed; `SEED=n` runs one, and `RUN` one
//! plan, as it is printed for a run that fails. `FAULTS` replaces the faults that seeds choose: `Cut:2000,Replica:6000`, each with its mean time
//! in milliseconds. Of a run that fails a smaller one is looked for.

use simulation::faults::Faults;
use simulation::plan::{Plan, Summary, Violation};
use simulation::run;
use simulation::shrink::shrink;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn told(plan: &Plan, violation: Violation, is_one: bool) {
    println!("{plan}: {}", violation.what);
    if is_one {
        return;
    }
    let (smaller, violation) = shrink(plan, violation, |plan| run(plan).map(drop));
    println!(
        "  smaller, after {} ms and {} faults: {}\n  again: RUN='{smaller}' SIMULATION_TRACE=1 make simulate",
        violation.at_ms,
        violation.faults - smaller.spared.len() as u64,
        violation.what
    );
}

fn main() -> ExitCode {
    let one = match std::env::var("RUN").ok().filter(|text| !text.is_empty()) {
        Some(text) => match Plan::read(&text) {
            Some(plan) => Some(plan),
            None => {
                println!("RUN is not a plan: {text}");
                return ExitCode::FAILURE;
            }
        },
        None => number("SEED").map(Plan::of),
    };
    let seconds = number("SECONDS").unwrap_or(3_600);
    let (begun, mut all, mut runs, mut failed) = (Instant::now(), Summary::default(), 0_u64, 0_u64);
    let is_one = one.is_some();
    let is_plan = std::env::var_os("RUN").is_some();
    let seeds = one.into_iter().chain((number("FROM").unwrap_or(0)..).map(Plan::of));
    let faults = std::env::var("FAULTS").ok().and_then(|text| Faults::read(&text));
    for mut plan in seeds {
        plan.faults = faults.or(plan.faults);
        if begun.elapsed() >= Duration::from_secs(seconds) || is_one && runs > 0 {
            break;
        }
        match run(&plan) {
            Ok(summary) => all.add(&summary),
            Err(violation) => {
                failed += 1;
                told(&plan, violation, is_plan);
            }
        }
        runs += 1;
    }
    let wall = begun.elapsed().as_secs_f64();
    let rate = all.fleet_ms as f64 / 1_000.0 / wall;
    println!(
        "{runs} runs, {failed} failed; {} faults, {} events, {} answers ({} hits, {} found in the shared tier), {} receipts, {} changes of settings, {} acknowledged revisions, {} overrides; {rate:.0} fleet-seconds per second",
        all.faults,
        all.events,
        all.answers,
        all.hits,
        all.tier_hits,
        all.receipts,
        all.written,
        all.acknowledged,
        all.overrides
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
