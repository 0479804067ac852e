//! What live tuning by xDS takes: from a change of limits and profiles to its being in force in one real Envoy, and what many
//! simulated Envoys cost the control plane. `bench-xds [CLIENTS]`, 1,000 unless told otherwise.

mod fleet;
mod in_force;

use e2e::times::Times;
use e2e::{Failure, Result, artefacts, machine};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::process::ExitCode;

fn main() -> ExitCode {
    let clients: std::result::Result<u64, _> = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse());
    let outcome = match clients {
        Ok(clients) if clients > 0 => run(clients),
        _ => Err(Failure::new("usage: bench-xds [CLIENTS]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(clients: u64) -> Result<()> {
    allow_files()?;
    let machine = machine::describe(&[]);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    println!("Everything runs on this machine: times are upper bounds.\n");
    let envoy = in_force::measure()?;
    let fleet = fleet::measure(clients)?;
    let document = json!({"machine": machine, "envoy": envoy, "fleet": fleet});
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("xds.json");
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\nWritten to {}", path.display());
    Ok(())
}

/// A file for each connection, in both processes: the control plane inherits the limit.
fn allow_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, all).map_err(|error| Failure::new(format!("raising the limit of open files: {error}")))
}

fn show(what: &str, times: &Times) {
    println!(
        "{what:<64} p50 {:.1} ms, p99 {:.1} ms, {} of them",
        times.ms(0.5),
        times.ms(0.99),
        times.count()
    );
}
