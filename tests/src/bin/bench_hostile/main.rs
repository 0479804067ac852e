//! What hostile inputs cost the control plane: memory above the idle process and processor time of each, and how soon after its start it
//! refuses strangers. `bench-hostile`. Fails when a bound is passed.

use e2e::client::Connection;
use e2e::control_plane::{ControlPlane, Options};
use e2e::hostile::{self, Input, MEMORY_MB, SECONDS};
use e2e::ports::free_port;
use e2e::times::Times;
use e2e::{Failure, Result, artefacts, machine, wait};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;

/// Connections that say nothing.
const SILENT: usize = 500;
const STARTS: u32 = 10;

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
    println!("{:<52} {:>10} {:>12}", "input", "MB", "seconds");
    let mut costs = Vec::new();
    for inputs in [hostile::patches(), hostile::unknown_names(), hostile::snapshots()?] {
        for input in &inputs {
            costs.push(cost(&input.what, |control| refused(control, input))?);
        }
    }
    costs.push(cost("60 Envoys with long texts", |control| {
        hostile::long_texts(control.grpc_address())
    })?);
    costs.push(cost(&format!("{SILENT} silent connections at each port"), silent)?);
    let started = starts()?;
    println!(
        "\nrefuses strangers after its start: p50 {:.0} ms, p99 {:.0} ms",
        started.ms(0.5),
        started.ms(0.99)
    );
    let document = json!({
        "machine": machine,
        "costs": costs,
        "refuses_after_ms": {"p50": started.ms(0.5), "p99": started.ms(0.99)},
    });
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("hostile.json"),
        serde_json::to_string_pretty(&document)? + "\n",
    )?;
    let passed: Vec<&Value> = costs.iter().filter(|cost| cost["within"] == false).collect();
    if passed.is_empty() {
        println!("All within {MEMORY_MB} MB and {SECONDS} s.");
        return Ok(());
    }
    Err(Failure::new(format!(
        "more than {MEMORY_MB} MB or {SECONDS} s: {passed:?}"
    )))
}

/// What one input costs a control plane of its own.
fn cost(what: &str, act: impl FnOnce(&ControlPlane) -> Result<()>) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let mut control = ControlPlane::quiet(folder.path())?;
    let gone = || Failure::new(format!("the control plane is gone after: {what}"));
    let process = control.process().ok_or_else(gone)?;
    let (memory, ticks) = (process.resident_mb()?, process.cpu_ticks());
    act(&control)?;
    if !control.is_live() {
        return Err(gone());
    }
    let process = control.process().ok_or_else(gone)?;
    let memory = process.peak_mb()? - memory;
    let seconds = f64::from(u32::try_from(process.cpu_ticks() - ticks).unwrap_or(u32::MAX)) / 100.0;
    println!("{what:<52} {memory:>10.1} {seconds:>12.2}");
    Ok(json!({"input": what, "mb": memory, "seconds": seconds, "within": memory <= MEMORY_MB && seconds <= SECONDS}))
}

fn refused(control: &ControlPlane, input: &Input) -> Result<()> {
    // Refused before all of it was sent, it may be cut off.
    match control.rest().send(&input.request) {
        Ok(answer) if answer.status != 422 => Err(Failure::new(format!("{}: {}", input.what, answer.status))),
        _ => Ok(()),
    }
}

fn silent(control: &ControlPlane) -> Result<()> {
    let mut held = Vec::new();
    for address in [control.rest().address(), control.grpc_address()] {
        for _ in 0..SILENT {
            held.push(Connection::open(address)?);
        }
    }
    if control.is_live() {
        Ok(())
    } else {
        Err(Failure::new("probes are not answered"))
    }
}

/// From the start of the process to its first refusal at the REST port.
fn starts() -> Result<Times> {
    let mut times = Times::new()?;
    for _ in 0..STARTS {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("tokens.json");
        let tokens = json!([{"name": "root", "role": "admin", "token": "admin-token-0123456789"}]);
        std::fs::write(&file, tokens.to_string())?;
        let options = Options {
            rest_port: free_port()?,
            grpc_port: free_port()?,
            state_dir: folder.path().join("state"),
            config_dir: None,
            environment: vec![("AUTH_TOKENS_FILE".to_owned(), file.display().to_string())],
        };
        let begin = Instant::now();
        let control = ControlPlane::start(options, folder.path())?;
        wait::until("a stranger refused", || {
            let answer = control.stranger().get("/settings").ok()?;
            (answer.status == 401).then_some(())
        })?;
        times.add(begin.elapsed());
    }
    Ok(times)
}
