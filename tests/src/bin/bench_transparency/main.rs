//! What the cache costs where it gains nothing: origins that want to be asked each time. Ratios of an Envoy with the filter to one
//! without, in short rounds by turns, on one machine that load, Envoys and origins share.

mod kinds;
mod measure;

use e2e::bootstrap::Bootstrap;
use e2e::envoy::Envoy;
use e2e::origin::Origin;
use e2e::ports::free_port;
use e2e::{Result, artefacts, machine};
use kinds::{KINDS, Kind};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

const ROUNDS: usize = 7;
const LASTS: Duration = Duration::from_millis(1_000);
const CROWDS: usize = 5;
/// Longer than workers take to tell each other.
const TOLD: Duration = Duration::from_millis(1_500);

/// The targets: throughput and median time over those without the filter, and the last of a crowd over its first.
const THROUGHPUT: f64 = 0.95;
const P50: f64 = 1.1;
const LAST: f64 = 1.3;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("some figure misses its target");
            ExitCode::FAILURE
        }
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// An Envoy and its origin.
struct Side {
    envoy: Envoy,
    _origin: Origin,
}

fn start(folder: &TempDir, filter: bool) -> Result<Side> {
    let origin = kinds::origin()?;
    let upstream = ("127.0.0.1".to_owned(), origin.address().port());
    let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, upstream);
    if filter {
        bootstrap.wasm = Some(artefacts::filter()?);
        bootstrap.settings = json!({"routes": KINDS.iter().map(Kind::route).collect::<Vec<_>>()}).to_string();
    }
    let folder = folder.path().join(if filter { "with" } else { "without" });
    std::fs::create_dir(&folder)?;
    let mut envoy = Envoy::start(&bootstrap, 2, &folder)?;
    envoy.wait_ready()?;
    Ok(Side { envoy, _origin: origin })
}

/// Whether all figures are within their targets.
fn run() -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("bench-transparency-").tempdir()?;
    let (with, without) = (start(&folder, true)?, start(&folder, false)?);
    println!(
        "With the filter over without it, medians of {ROUNDS} rounds of {} ms (lowest-highest); crowds of {CROWDS} cold pages after one\n",
        LASTS.as_millis()
    );
    println!(
        "{:<18} {:>22} {:>22} {:>24} {:>14}",
        "", "throughput", "p50", "last of ten over first", "without"
    );
    let mut rows = Vec::new();
    let mut within = true;
    for kind in KINDS {
        let row = row(&with, &without, kind)?;
        within &= row["within"] == true;
        rows.push(row);
    }
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("transparency.json");
    let document = json!({"machine": machine::describe(&[]), "rows": rows,
        "targets": {"throughput": THROUGHPUT, "p50": P50, "last": LAST}});
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\nWritten to {}", path.display());
    Ok(within)
}

fn row(with: &Side, without: &Side, kind: &Kind) -> Result<Value> {
    let (mut throughput, mut p50) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let on = || measure::steady(with.envoy.address(), kind, 0, LASTS);
        let off = || measure::steady(without.envoy.address(), kind, 0, LASTS);
        // By turns also within a round: whoever is first has the same share of disturbances.
        let (on, off) = if round % 2 == 0 {
            let on = on()?;
            (on, off()?)
        } else {
            let off = off()?;
            (on()?, off)
        };
        throughput.push(on.per_second / off.per_second);
        p50.push(on.p50_ms / off.p50_ms);
    }
    let crowds = |side: &Side| -> Result<Vec<f64>> {
        // What a route's responses are like, somebody has to find out, and tell the other worker.
        measure::crowd(side.envoy.address(), kind, CROWDS)?;
        std::thread::sleep(TOLD);
        (0..CROWDS)
            .map(|page| measure::crowd(side.envoy.address(), kind, page))
            .collect()
    };
    let (last, last_without) = (crowds(with)?, crowds(without)?);
    let figures = [&throughput, &p50, &last, &last_without].map(|values| Spread::of(values));
    let [throughput, p50, last, last_without] = figures;
    let within = throughput.median >= THROUGHPUT && p50.median <= P50 && last.median <= LAST;
    println!(
        "{:<18} {:>22} {:>22} {:>24} {:>14.2}{}",
        kind.name,
        throughput.told(),
        p50.told(),
        last.told(),
        last_without.median,
        if within { "" } else { "  misses its target" }
    );
    Ok(
        json!({"kind": kind.name, "throughput": throughput.to_json(), "p50": p50.to_json(), "last": last.to_json(),
        "last_without": last_without.to_json(), "within": within}),
    )
}

/// What repeated measurements gave.
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(sorted.len() / 2),
            lowest: at(0),
            highest: at(sorted.len().saturating_sub(1)),
        }
    }

    fn told(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.lowest, self.highest)
    }

    fn to_json(&self) -> Value {
        json!({"median": self.median, "lowest": self.lowest, "highest": self.highest})
    }
}
