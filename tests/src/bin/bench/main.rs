//! What the filter costs: Envoy's CPU time per request against the same Envoy without it, and against Envoy's own cache; and how
//! soon a change of settings is in force. Ratios of one run on one machine.

mod contenders;
mod load;
mod push;

use contenders::{Cores, SIZES};
use e2e::envoy::Envoy;
use e2e::{Failure, Result, artefacts};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// How thoroughly.
struct Effort {
    rounds: u32,
    seconds: u32,
    changes: u32,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => run(&Effort {
            rounds: 5,
            seconds: 5,
            changes: 200,
        }),
        [flag] if flag == "--quick" => run(&Effort {
            rounds: 3,
            seconds: 2,
            changes: 200,
        }),
        _ => Err(Failure::new("usage: bench [--quick]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(effort: &Effort) -> Result<()> {
    let cores = cores();
    let medians = cpu(effort, &cores)?;
    let of = |name: String| medians.get(&name).copied().unwrap_or(f64::NAN);
    let mut ratios = BTreeMap::new();
    for size in SIZES {
        let hit = of(format!("hit {size}"));
        ratios.insert(
            format!("hit {size} / direct_response"),
            hit / of(format!("direct {size}")),
        );
        ratios.insert(
            format!("hit {size} / Envoy's cache filter"),
            hit / of(format!("native {size}")),
        );
        ratios.insert(
            format!("forwarded {size} / without the filter"),
            of(format!("forwarded {size}")) / of(format!("plain {size}")),
        );
    }
    println!("\nRatios");
    for (name, ratio) in &ratios {
        println!("  {name:<40} {ratio:.2}");
    }
    let (p50, p99) = push::measure(effort.changes)?;
    println!(
        "\nREST PATCH to in force in all workers, {} changes: p50 {p50:.1} ms, p99 {p99:.1} ms",
        effort.changes
    );
    let path = artefacts::workspace().join("target/bench.json");
    let result = json!({"cpu_us": medians, "ratios": ratios, "push_ms": {"p50": p50, "p99": p99}});
    std::fs::create_dir_all(artefacts::workspace().join("target"))?;
    std::fs::write(&path, serde_json::to_string_pretty(&result)? + "\n")?;
    println!("Written to {}", path.display());
    Ok(())
}

/// Median CPU time per request in microseconds, by contender. The contenders take turns, so that what else the machine does meets all.
fn cpu(effort: &Effort, cores: &Cores) -> Result<BTreeMap<String, f64>> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let origin = contenders::origin(folder.path(), cores)?;
    let ours = contenders::ours(folder.path(), cores, &origin)?;
    let native = contenders::native(folder.path(), cores, &origin)?;
    check(&ours, &native)?;
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 1..=effort.rounds {
        println!("Round {round} of {}", effort.rounds);
        for size in SIZES {
            for (name, path, with) in [
                ("direct", format!("/direct/{size}"), &ours),
                ("hit", format!("/{size}"), &ours),
                ("forwarded", format!("/no-store/{size}"), &ours),
                ("plain", format!("/plain/no-store/{size}"), &ours),
                ("native", format!("/{size}"), &native),
            ] {
                let micros = load::cpu_per_request(with, &path, effort.seconds, cores.load)?;
                samples.entry(format!("{name} {size}")).or_default().push(micros);
            }
        }
    }
    println!("\nEnvoy's CPU time per request, one worker (median, lowest to highest)");
    let mut medians = BTreeMap::new();
    for (name, values) in samples {
        let (median, lowest, highest) = load::spread(values);
        println!("  {name:<20} {median:6.1} us  ({lowest:.1} to {highest:.1})");
        medians.insert(name, median);
    }
    Ok(medians)
}

/// What is to be measured is what happens: hits are hits, and the others are none. Warms both caches.
fn check(ours: &Envoy, native: &Envoy) -> Result<()> {
    for size in SIZES {
        for path in [
            format!("/{size}"),
            format!("/no-store/{size}"),
            format!("/plain/no-store/{size}"),
            format!("/direct/{size}"),
        ] {
            let (_, answer) = (ours.get(&path)?, ours.get(&path)?);
            let wanted = path == format!("/{size}");
            if answer.status != 200 || answer.body.len() != size || answer.is_hit() != wanted {
                let seen = format!(
                    "{} with {} bytes, Cache-Status {:?}",
                    answer.status,
                    answer.body.len(),
                    answer.header("cache-status")
                );
                return Err(Failure::new(format!("{path} was answered {seen}")));
            }
        }
        let (_, answer) = (native.get(&format!("/{size}"))?, native.get(&format!("/{size}"))?);
        if answer.header("age").is_none() {
            return Err(Failure::new("Envoy's own cache filter did not serve from its cache"));
        }
    }
    Ok(())
}

/// Server and load on processors of their own, where there are two.
fn cores() -> Cores {
    let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    Cores {
        server: "0",
        load: if several { "1" } else { "0" },
    }
}
