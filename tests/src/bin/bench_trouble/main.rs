//! Latency while something is wrong: an open loop of requests against Envoy with the filter and without it, and one trouble at a time.
//! Figures of one run on one machine, on which load, Envoy, origin and control plane share the processors.

mod open_loop;
mod troubles;

use e2e::bootstrap::Bootstrap;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Received, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::{Failure, Result, artefacts, machine};
use open_loop::{Load, Outcome};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use troubles::{TROUBLES, Trouble};

const RATE: u32 = 300;
const LASTS: Duration = Duration::from_secs(6);
const KEYS: u32 = 100;
/// What the origin takes for an answer.
const ORIGIN: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let machine = machine::describe(&[]);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    println!(
        "{RATE} requests per second over {KEYS} URLs for {} s, origin {} ms, times in ms from when a request was due\n",
        LASTS.as_secs(),
        ORIGIN.as_millis()
    );
    println!(
        "{:<38} {:<8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>8}",
        "", "filter", "p50", "p99", "p99.9", "max", "failed", "hits", "fetches"
    );
    let mut rows = Vec::new();
    for trouble in &TROUBLES {
        if trouble.trap && artefacts::trap_filter().is_err() {
            println!(
                "{:<38} skipped: the filter with the trigger is not built (make wasm-trap)",
                trouble.name
            );
            continue;
        }
        rows.push(row(trouble, true, with_filter(trouble)?));
        if trouble.without_filter {
            rows.push(row(trouble, false, without_filter(trouble)?));
        }
    }
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("trouble.json");
    let document = json!({"machine": machine, "rate": RATE, "seconds": LASTS.as_secs(), "rows": rows});
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\nWritten to {}", path.display());
    Ok(())
}

fn origin() -> Result<Origin> {
    Origin::start(|request: &Received| {
        let cache_control = if request.path.starts_with("/short/") {
            "max-age=1, stale-if-error=600"
        } else {
            "max-age=600"
        };
        Reply::ok(vec![b'x'; 4_096])
            .header("cache-control", cache_control)
            .after(ORIGIN)
    })
}

fn load(envoy: &Envoy, trouble: &Trouble) -> Load {
    Load {
        address: envoy.address(),
        rate: RATE,
        lasts: LASTS,
        path: trouble.path,
        keys: KEYS,
    }
}

/// Fetches from the origin come with the outcome.
fn with_filter(trouble: &Trouble) -> Result<(Outcome, usize)> {
    let plan = Plan {
        trap: trouble.trap,
        ..Plan::default()
    };
    let mut stack = Stack::start(&plan, origin()?)?;
    let load = load(&stack.envoy, trouble);
    load.warm()?;
    let before = stack.origin.total();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run());
        (trouble.make)(&mut stack)?;
        running.join().map_err(|_| Failure::new("the load panicked"))?
    })?;
    Ok((outcome, stack.origin.total() - before))
}

fn without_filter(trouble: &Trouble) -> Result<(Outcome, usize)> {
    let folder = tempfile::Builder::new().prefix("bench-trouble-").tempdir()?;
    let mut origin = origin()?;
    let upstream = ("127.0.0.1".to_owned(), origin.address().port());
    let mut envoy = Envoy::start(
        &Bootstrap::bare(free_port()?, free_port()?, upstream),
        Plan::default().workers,
        folder.path(),
    )?;
    envoy.wait_ready()?;
    let load = load(&envoy, trouble);
    load.warm()?;
    let before = origin.total();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run());
        if trouble.outage {
            troubles::outage(&mut origin)?;
        }
        running.join().map_err(|_| Failure::new("the load panicked"))?
    })?;
    Ok((outcome, origin.total() - before))
}

fn row(trouble: &Trouble, filter: bool, (outcome, fetches): (Outcome, usize)) -> Value {
    let times = &outcome.times;
    let label = if filter { "with" } else { "without" };
    println!(
        "{:<38} {label:<8} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>7} {:>7} {fetches:>8}",
        trouble.name,
        times.ms(0.5),
        times.ms(0.99),
        times.ms(0.999),
        times.ms(1.0),
        outcome.failed,
        outcome.hits,
    );
    json!({
        "trouble": trouble.name, "filter": filter, "ms": times.to_json(), "failed": outcome.failed, "hits": outcome.hits,
        "fetches": fetches,
    })
}
