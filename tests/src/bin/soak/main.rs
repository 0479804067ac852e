//! The whole product under steady traffic for an hour, with a fault each minute: real Envoys, control planes and Redis, and an origin that
//! cuts, hangs and lies. Every answer is checked against the origin's log; memory and descriptors must not grow.
//!
//! `SECONDS` (3600), `RATE` (120 requests a second), `SEED` (of the time). The result is in `target/soak/report.json`. An end by
//! SIGINT or SIGTERM ends everything that was started, too.

mod clients;
mod content;
mod faults;
mod fleet;
mod judge;
mod log;
mod origin;
mod purges;
mod run;
mod tally;
mod watch;

use e2e::{Failure, Result, artefacts, machine, signals};
use fleet::{Fleet, ON_OUTAGE_S};
use log::Log;
use origin::Habits;
use run::Run;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use watch::Watch;

/// Requests a second: low, the point is not load.
const RATE: u32 = 120;
const SECONDS: u64 = 3_600;
/// Between two faults; a short run has them closer together.
const FAULT_EVERY: Duration = Duration::from_secs(60);
const OPERATORS: u64 = 2;
/// Between two lines on how it goes.
const STATUS: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match soak() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn soak() -> Result<bool> {
    let seconds = number("SECONDS", SECONDS)?;
    let rate = number("RATE", RATE)?.max(1);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = number("SEED", clock.map_or(1, |since| since.as_secs()))?;
    let lasts = Duration::from_secs(seconds);
    let every = (lasts / 8).min(FAULT_EVERY);
    let stop = signals::stop()?;
    println!(
        "soak: {seconds} s, {rate} requests a second, a fault each {} s, seed {seed}",
        every.as_secs()
    );

    let log = Arc::new(Log::new(seed, Duration::from_secs(ON_OUTAGE_S)));
    let habits = Arc::new(Habits::new(seed));
    let origin = origin::start(&log, &habits)?;
    let fleet = Fleet::start(origin.address())?;
    println!("  logs in {}", fleet.folder().display());
    let run = Arc::new(Run::new(seed, stop, log, habits, origin, fleet));
    let (watch, broken) = attend(&run, lasts, every, rate)?;

    let (processes, grown) = watch.judge();
    let (requests, _, wrong) = run.tally.so_far();
    let good = broken.is_none() && wrong == 0 && grown.is_empty() && requests > 0;
    let mut report = run.tally.report();
    report["seed"] = json!(seed);
    report["seconds"] = json!(watch.seconds());
    report["seconds_wanted"] = json!(seconds);
    report["machine"] = machine::describe(&[("redis-server", "--version")]);
    report["origin"] = json!(run.log.answers());
    report["purges"] = json!(run.purges.report());
    report["faults"] = json!(run.faults.report().remove("faults"));
    report["processes"] = processes;
    report["grown"] = json!(grown);
    report["fault_that_was_not_borne"] = json!(broken);
    report["good"] = json!(good);
    let place = artefacts::workspace().join("target/soak");
    std::fs::create_dir_all(&place)?;
    let place = place.join("report.json");
    std::fs::write(&place, serde_json::to_string_pretty(&report)? + "\n")?;
    tell(&report);
    println!("  the whole report: {}", place.display());
    if let Some(run) = Arc::into_inner(run)
        && !good
    {
        println!("  logs are kept in {}", run.fleet.keep().display());
    }
    Ok(good)
}

/// Lets everybody at work until the time is over; what was seen of the processes, and the fault that the product did not bear, if there
/// is one.
fn attend(run: &Arc<Run>, lasts: Duration, every: Duration, rate: u32) -> Result<(Watch, Option<String>)> {
    let mut threads = Vec::new();
    for number in 0..clients::CLIENTS {
        let run = Arc::clone(run);
        threads.push(std::thread::spawn(move || clients::ask(&run, number, rate)));
    }
    for number in 0..OPERATORS {
        let run = Arc::clone(run);
        threads.push(std::thread::spawn(move || purges::operate(&run, number)));
    }
    let own = Arc::clone(run);
    let watcher = std::thread::spawn(move || watch(&own, lasts));
    // Envoys end with the thread that has started them: it is this one.
    let broken = faults::trouble(run, every).err();
    run.stop.store(true, Ordering::SeqCst);
    let panicked = |_| Failure::new("a thread of the soak panicked");
    for thread in threads {
        thread.join().map_err(panicked)?;
    }
    let watch = watcher.join().map_err(panicked)?;
    Ok((watch, broken.map(|sentence| sentence.to_string())))
}

/// Looks at the processes, tells how it goes, and ends the run.
fn watch(run: &Run, lasts: Duration) -> Watch {
    let begin = Instant::now();
    let mut watch = Watch::new();
    let mut status = begin + STATUS;
    while begin.elapsed() < lasts && !run.stop.load(Ordering::SeqCst) {
        watch.look(run);
        run.log.forget();
        run.origin().forget();
        if Instant::now() >= status {
            status += STATUS;
            let (requests, hits, wrong) = run.tally.so_far();
            println!(
                "  {} s: {requests} requests, {hits} hits, {wrong} wrong",
                begin.elapsed().as_secs()
            );
        }
        run.pause(watch::EVERY.min(lasts.saturating_sub(begin.elapsed())));
    }
    run.stop.store(true, Ordering::SeqCst);
    watch
}

fn tell(report: &Value) {
    let line = |name: &str| println!("  {name}: {}", report[name]);
    println!("soak: {}", if report["good"] == true { "good" } else { "NOT good" });
    for name in [
        "seconds",
        "seconds_wanted",
        "requests",
        "hits",
        "from_shared_tier",
        "repeated_on_a_new_connection",
        "right",
        "refused_by_cause",
        "broken_by_cause",
        "origin",
        "purges",
        "faults",
        "wrong",
        "fault_that_was_not_borne",
    ] {
        line(name);
    }
    for process in report["processes"].as_array().into_iter().flatten() {
        println!(
            "  {} ({}): {} s, memory {} descriptors {}",
            process["process"], process["id"], process["seconds"], process["memory_mb"], process["descriptors"]
        );
    }
    for name in ["wrong_answers", "grown"] {
        for sentence in report[name].as_array().into_iter().flatten() {
            println!("  {name}: {sentence}");
        }
    }
}

/// A number of the environment.
fn number<T: FromStr>(name: &str, usual: T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            let sentence = || Failure::new(format!("{name} must be a number, not {text:?}"));
            text.parse().map_err(|_| sentence())
        }
        _ => Ok(usual),
    }
}
