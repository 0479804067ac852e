//! What the shared tier on Redis brings and costs: times beside an origin fetch and an own hit, throughput of the service, times in
//! each kind of trouble, bytes per response. Load, Envoys, origin, control plane and Redis share one machine.

mod footprint;
mod latency;
mod throughput;
mod troubles;

use e2e::times::Times;
use e2e::{Failure, Result, artefacts, machine};
use serde_json::{Value, json};
use std::process::ExitCode;

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
    let mut machine = machine::describe(&[("redis-server", "--version")]);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    println!("Everything runs on this machine: times are upper bounds.\n");
    let latency = latency::measure()?;
    let throughput = throughput::measure()?;
    let troubles = troubles::measure()?;
    let footprint = footprint::measure()?;
    let after = std::fs::read_to_string("/proc/loadavg")?;
    machine["load_after"] = json!(after.split(' ').next().unwrap_or_default());
    println!(
        "\nLoad of the machine: {} before, {} after",
        machine["load_before"], machine["load_after"]
    );
    let document = json!({
        "machine": machine, "latency": latency, "throughput": throughput, "troubles": troubles, "footprint": footprint,
    });
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("tier.json");
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("Written to {}", path.display());
    Ok(())
}

fn show(what: &str, times: &Times) -> Value {
    println!(
        "{what:<58} p50 {:>7.2} ms, p95 {:>7.2}, p99 {:>7.2}, {} of them",
        times.ms(0.5),
        times.ms(0.95),
        times.ms(0.99),
        times.count()
    );
    let mut shown = times.to_json();
    shown["p95"] = json!(times.ms(0.95));
    shown
}

/// What an API might answer, of about so many bytes: a list of things, each unlike the others.
fn document(bytes: usize) -> String {
    let mut seed: u64 = 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    let mut text = String::from("[");
    while text.len() < bytes {
        let thing = json!({
            "id": format!("{:08x}{:08x}", next(), next()), "name": format!("product {}", next() % 10_000),
            "price": next() % 100_000, "available": next() % 2 == 0, "rating": next() % 50,
        });
        text.push_str(&thing.to_string());
        text.push(',');
    }
    text.truncate(bytes);
    text
}

fn accepted(answer: &e2e::client::Response) -> Result<()> {
    match answer.status {
        200 => Ok(()),
        status => Err(Failure::new(format!("answered {status}: {}", answer.text()))),
    }
}
