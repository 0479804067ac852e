//! What the filter adds before the first request: time to start, memory for each worker, the size of the module.

use crate::contenders::{Cores, started_alone};
use crate::numbers::Spread;
use e2e::artefacts::Shell;
use e2e::envoy::Envoy;
use e2e::{Failure, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Workers whose memory is compared.
const FEW: u32 = 1;
const MANY: u32 = 3;

/// Start and memory of an Envoy.
struct Footprint {
    /// From the start of the process to the first answer, milliseconds.
    start_ms: Spread,
    /// Resident memory of Envoy with one worker, MB of 2^20 bytes.
    resident_mb: Spread,
    /// What each further worker adds to it.
    worker_mb: Spread,
}

/// What is printed, with how many decimals, and where it is found.
type Row = (&'static str, usize, fn(&Footprint) -> Spread);

/// Without the filter, and with each form of it.
const FILTERS: [Option<Shell>; 3] = [None, Some(Shell::Wasm), Some(Shell::Native)];

/// Measures with and without the filter in turns, prints it, and gives it as JSON.
pub(crate) fn measure(rounds: u32, folder: &Path, cores: &Cores) -> Result<Value> {
    let mut seen = FILTERS.map(|_| Vec::new());
    for round in 0..rounds {
        for ((at, filter), into) in FILTERS.iter().enumerate().zip(&mut seen) {
            let folder = folder.join(format!("footprint-{at}-{round}"));
            into.push(once(*filter, &folder, cores)?);
        }
    }
    let [without, wasm, native] = seen.map(|samples| Footprint::of(&samples));
    let bytes = |shell: Shell| Ok::<u64, Failure>(std::fs::metadata(shell.filter()?)?.len());
    let sizes = (bytes(Shell::Wasm)?, bytes(Shell::Native)?);
    println!("\nStart and memory (median, lowest to highest)");
    let rows: [Row; 3] = [
        ("process start to first answer, ms", 0, |of| of.start_ms),
        ("resident with one worker, MB", 1, |of| of.resident_mb),
        ("each further worker adds, MB", 1, |of| of.worker_mb),
    ];
    println!(
        "  {:<36} {:<24} {:<24} dynamic module",
        "", "without the filter", "Wasm"
    );
    for (what, decimals, of) in rows {
        let text = |footprint| of(footprint).text(decimals);
        println!(
            "  {what:<36} {:<24} {:<24} {}",
            text(&without),
            text(&wasm),
            text(&native)
        );
    }
    println!("  the module: {} bytes, dynamic module {} bytes", sizes.0, sizes.1);
    Ok(json!({
        "without_filter": without.to_json(),
        "with_filter": wasm.to_json(),
        "with_dynamic_module": native.to_json(),
        "module_bytes": sizes.0,
        "dynamic_module_bytes": sizes.1,
    }))
}

impl Footprint {
    fn of(samples: &[[f64; 3]]) -> Self {
        let column =
            |index: usize| Spread::of(samples.iter().filter_map(|sample| sample.get(index).copied()).collect());
        Self {
            start_ms: column(0),
            resident_mb: column(1),
            worker_mb: column(2),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "start_ms": self.start_ms.to_json(),
            "resident_mb": self.resident_mb.to_json(),
            "worker_mb": self.worker_mb.to_json(),
        })
    }
}

/// Milliseconds to start, resident MB with one worker, and MB for each further one.
fn once(filter: Option<Shell>, folder: &Path, cores: &Cores) -> Result<[f64; 3]> {
    let begin = Instant::now();
    let few = started(filter, FEW, &folder.join("few"), cores)?;
    let start_ms = begin.elapsed().as_secs_f64() * 1_000.0;
    let few = resident_mb(few)?;
    let many = resident_mb(started(filter, MANY, &folder.join("many"), cores)?)?;
    Ok([start_ms, few, (many - few) / f64::from(MANY - FEW)])
}

/// Running, and asked once.
fn started(filter: Option<Shell>, workers: u32, folder: &Path, cores: &Cores) -> Result<Envoy> {
    let envoy = started_alone(folder, cores, filter, workers)?;
    let answer = envoy.get("/direct/1024")?;
    if answer.status == 200 {
        return Ok(envoy);
    }
    Err(Failure::new(format!("Envoy answered {} at its start", answer.status)))
}

/// Resident memory; ends it.
fn resident_mb(mut envoy: Envoy) -> Result<f64> {
    envoy.process().resident_mb()
}
