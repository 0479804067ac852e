//! How the control plane grows with the fleet: simulated Envoys with real gRPC streams that report each second, against the real
//! control plane on one machine. What it takes of processor and memory, how soon a change of settings is everywhere, and how long
//! operators wait for answers meanwhile.

mod chart;
mod envoys;
mod measure;
mod telemetry;

use e2e::{Failure, Result, artefacts, machine};
use measure::Seen;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::process::ExitCode;

const SIZES: [u64; 3] = [100, 1_000, 5_000];
/// Of telemetry alone, then of changes and reads as well.
const SECONDS: u64 = 15;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: std::result::Result<Vec<u64>, _> = arguments.iter().map(|argument| argument.parse()).collect();
    let outcome = match sizes {
        Ok(sizes) if sizes.is_empty() => run(&SIZES),
        Ok(sizes) => run(&sizes),
        Err(_) => Err(Failure::new("usage: bench-fleet [NUMBER OF ENVOYS]...")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(sizes: &[u64]) -> Result<()> {
    allow_files(sizes.iter().copied().max().unwrap_or(0))?;
    let machine = machine::describe(&[]);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    println!("The simulated Envoys run on the same machine: times are upper bounds.\n");
    println!(
        "{:>7}  {:>17}  {:>17}  {:>13}  {:>11}  {:>12}  {:>17}  {:>18}  {:>17}",
        "Envoys",
        "push p50/p99 ms",
        "all acked p50/max",
        "cores, steady",
        "resident MB",
        "report bytes",
        "REST read p50/p99",
        "fleet-wide p50/max",
        "all asked p50/max"
    );
    let mut all = Vec::new();
    for envoys in sizes {
        let seen = measure::measure(*envoys, SECONDS).map_err(|failure| failure.during(&format!("{envoys} Envoys")))?;
        println!("{}", line(&seen));
        all.push(seen);
    }
    write(&machine, &all)
}

fn line(seen: &Seen) -> String {
    let asking = seen.asking();
    format!(
        "{:>7}  {:>17}  {:>17}  {:>13.3}  {:>11.1}  {:>12.0}  {:>17}  {:>18}  {:>17}",
        seen.envoys,
        format!("{:.1} / {:.1}", seen.push.ms(0.5), seen.push.ms(0.99)),
        format!("{:.1} / {:.1}", seen.rollout.ms(0.5), seen.rollout.ms(1.0)),
        seen.steady.control_plane,
        seen.resident_mb,
        seen.report_bytes,
        format!("{:.1} / {:.1}", seen.reads.ms(0.5), seen.reads.ms(0.99)),
        format!("{:.1} / {:.1}", seen.whole.ms(0.5), seen.whole.ms(1.0)),
        format!("{:.1} / {:.1}", asking.0, asking.1),
    )
}

/// A file for each connection, in both processes: the control plane inherits the limit.
fn allow_files(envoys: u64) -> Result<()> {
    const BESIDES: u64 = 256;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < envoys + BESIDES) {
        return Err(Failure::new(format!(
            "{envoys} Envoys need {} open files: raise `ulimit -Hn`",
            envoys + BESIDES
        )));
    }
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, all).map_err(|error| Failure::new(format!("raising the limit of open files: {error}")))
}

fn write(machine: &Value, all: &[Seen]) -> Result<()> {
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let sizes: Vec<Value> = all.iter().map(Seen::to_json).collect();
    let document = json!({"machine": machine, "seconds": SECONDS, "sizes": sizes});
    let files = [
        ("fleet.json", serde_json::to_string_pretty(&document)? + "\n"),
        ("fleet.svg", chart::svg(all, &machine::caption(machine))),
    ];
    println!();
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        println!("Written to {}", path.display());
    }
    Ok(())
}
